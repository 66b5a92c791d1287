"""Blockwise flash attention in plain XLA."""
