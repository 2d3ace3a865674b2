"""Retrying, replaying and repairing what did not succeed."""
