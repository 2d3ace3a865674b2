"""Benchmarks of copying, preprocessing, writing and reading, each compared with another tool."""
