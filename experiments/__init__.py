"""Experiments: one folder per paper, tasks, harness, conformance matrix and benchmarks."""
