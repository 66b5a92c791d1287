"""Benchmarks: speed and memory against other libraries, and equality across placements."""
