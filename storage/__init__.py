"""Adapters for Azure Storage: blobs, tables and queues."""
