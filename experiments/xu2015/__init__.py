"""Xu et al. 2015: Show, Attend and Tell."""
