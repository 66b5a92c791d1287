"""The conformance matrix: implementations of attention compared with a float64 oracle.

python -m experiments.conformance --interpret --output=experiments/results/conformance
"""
