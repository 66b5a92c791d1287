"""Zaheer et al. 2020: Big Bird."""
