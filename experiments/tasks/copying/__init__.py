"""Sequences of which a part is to be repeated: what reach does attention have?"""
