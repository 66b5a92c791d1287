"""Copying: prediction of symbols that stood earlier in a sequence."""
