"""Tiles of kernels: masks by tile, operands padded to whole tiles, passes over them."""

from attn_research.attention.backends.tiles import sparse_rules as sparse_rules  # registers rules
