"""Preprocessing: raw archives become images, rows and shards."""
