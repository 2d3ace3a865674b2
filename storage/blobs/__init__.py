"""Adapters for blobs."""
