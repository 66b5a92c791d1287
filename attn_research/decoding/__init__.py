"""Generation, beam search over a next-token function, and key-value caches; knows no model."""

from attn_research.decoding.cache import BeamHistory, KeyValueCache, KeyValues, Past, Shared
from attn_research.decoding.generation import Continuation, generate, stream
from attn_research.decoding.programs import Beam, Decoder
from attn_research.decoding.sampling import GREEDY, Sampling
from attn_research.decoding.search import Hypotheses, Vocabulary, beam_search, length_penalty

__all__ = [
    "GREEDY",
    "Beam",
    "BeamHistory",
    "Continuation",
    "Decoder",
    "Hypotheses",
    "KeyValueCache",
    "KeyValues",
    "Past",
    "Sampling",
    "Shared",
    "Vocabulary",
    "beam_search",
    "generate",
    "length_penalty",
    "stream",
]
