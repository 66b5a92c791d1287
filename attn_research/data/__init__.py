"""Data sets of text, images and a grammar; batching, packing, records; no jax devices."""
