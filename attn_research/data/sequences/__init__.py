"""Labelled sequences that are long: nested lists, drawn paths, pixels, halves of texts."""
