"""Adapters for queues."""
