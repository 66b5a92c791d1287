"""Tiles of kernels: masks by tile, operands padded to whole tiles, passes over them."""
