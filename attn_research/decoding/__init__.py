"""Greedy and beam search over a next-token function, and key-value caches; knows no model."""

from attn_research.decoding.cache import BeamHistory, KeyValueCache, KeyValues, Past, Shared
from attn_research.decoding.search import Hypotheses, Vocabulary, beam_search, length_penalty

__all__ = [
    "BeamHistory",
    "Hypotheses",
    "KeyValueCache",
    "KeyValues",
    "Past",
    "Shared",
    "Vocabulary",
    "beam_search",
    "length_penalty",
]
