"""Linen layers: they own parameters and pick answers."""
