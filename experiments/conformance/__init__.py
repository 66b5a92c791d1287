"""The conformance matrix: every implementation of attention beside a float64 oracle.

python -m experiments.conformance --output=experiments/results/conformance
"""
