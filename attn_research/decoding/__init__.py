"""Greedy and beam search over a next-token function, and key-value caches; knows no model."""

from attn_research.decoding.cache import (
    BeamHistory,
    Cache,
    History,
    KeyValueCache,
    KeyValues,
    Past,
    Shared,
)
from attn_research.decoding.search import Hypotheses, Vocabulary, beam_search, length_penalty

__all__ = [
    "BeamHistory",
    "Cache",
    "History",
    "Hypotheses",
    "KeyValueCache",
    "KeyValues",
    "Past",
    "Shared",
    "Vocabulary",
    "beam_search",
    "length_penalty",
]
