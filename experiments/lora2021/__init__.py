"""Hu et al. 2021: LoRA."""
