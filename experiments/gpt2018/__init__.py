"""Radford et al. 2018, 2019: GPT and GPT-2."""
