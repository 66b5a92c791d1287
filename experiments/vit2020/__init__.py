"""Dosovitskiy et al. 2020: the Vision Transformer."""
