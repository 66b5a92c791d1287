"""The history of attention as running JAX and Flax code."""
