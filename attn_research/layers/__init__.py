"""Flax Linen layers: learned parameters around the functions of attn_research.attention."""
