"""Turning raw archives into images, rows and shards."""
