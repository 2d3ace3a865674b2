"""Adapters for tables."""
