"""The pure step, the loop, its hooks and checkpoints; knows losses, not models."""
