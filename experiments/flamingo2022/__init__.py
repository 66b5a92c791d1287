"""Alayrac et al. 2022: Flamingo."""
