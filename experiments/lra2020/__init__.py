"""Tay et al. 2020: Long Range Arena."""
