"""Benchmarks of copying, preprocessing, writing and reading, each beside a peer."""
