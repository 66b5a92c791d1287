"""Whole networks, one a file; none imports another."""
