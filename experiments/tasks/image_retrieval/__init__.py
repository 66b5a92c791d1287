"""Retrieval of captions by images, and of images by captions."""
