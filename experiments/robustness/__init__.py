"""Checks of the product under damage: killed runs, mutated files."""
