"""Bahdanau, Cho, Bengio 2014: attention in a recurrent translator."""
