"""Conformance testing of attention: a float64 oracle, cases and their comparison."""
