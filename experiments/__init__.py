"""Experiments: one file a paper, in the order of history."""
