"""Captioning of images: what is said of them, and where each word points."""
