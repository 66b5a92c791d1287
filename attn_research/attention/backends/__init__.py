"""Implementations of attention, and what several of them share."""
