"""Devlin et al. 2018: BERT."""
