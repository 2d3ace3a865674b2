"""Retrying, replaying and repairing failed or lost work."""
