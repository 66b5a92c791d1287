"""Experiments: one folder per paper, tasks, harness, conformance matrix and benchmarks."""

from experiments.huge_pages import restart

restart()
