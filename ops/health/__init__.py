"""Checks of the running system: watch, audit and doctor."""
