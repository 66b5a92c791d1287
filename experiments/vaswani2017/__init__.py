"""Vaswani et al. 2017: the Transformer."""
