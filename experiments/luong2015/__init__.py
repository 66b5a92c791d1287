"""Luong, Pham, Manning 2015: scores of attention, global and local."""
