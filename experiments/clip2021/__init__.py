"""Radford et al. 2021: CLIP."""
