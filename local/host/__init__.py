"""A functions host for development and tests."""
