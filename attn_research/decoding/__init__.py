"""Greedy and beam search over a next-logits function; knows no model."""

from attn_research.decoding.search import Hypotheses, Vocabulary, beam_search, length_penalty

__all__ = ["Hypotheses", "Vocabulary", "beam_search", "length_penalty"]
