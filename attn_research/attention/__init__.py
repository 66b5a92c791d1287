"""Attention of a score, a mask, a normalizer and an implementation.

Scores, masks, biases and normalizers are callable pytrees: arrays are leaves, structure is static
and hashable, and equal ones trace once. `attend` puts them together.
"""

from attn_research.attention.api import attend, explain
from attn_research.attention.array_masks import Around, Dense, GlobalTokens, Padding, Segments
from attn_research.attention.call import Attended, Capture
from attn_research.attention.lsh import (
    bucket_attend,
    bucket_counts,
    lsh_buckets,
    shared_keys,
)
from attn_research.attention.masks import Causal, Full, Mask, Window
from attn_research.attention.normalizers import Dropout, Gaussian, softmax
from attn_research.attention.patterns import (
    BigBird,
    big_bird,
    longformer,
    prefix_lm,
    sparse_transformer,
    streaming,
)
from attn_research.attention.positions import Positions
from attn_research.attention.random_blocks import RandomBlocks
from attn_research.attention.relative import ALiBi, RelativeBias, alibi_slopes, relative_buckets
from attn_research.attention.ring import attend_on_ring, ring_attend
from attn_research.attention.rotary import Rotary, Rotation
from attn_research.attention.routing import routing_attend, update_centroids
from attn_research.attention.scores import Additive, Dot, General, Location, ScaledDot
from attn_research.attention.sparse_masks import BlockWindow, Dilated, Global, Prefix, Strided
from attn_research.attention.sparse_normalizers import Sigmoid, TopK, entmax15, sparsemax
from attn_research.attention.varied_masks import ByHead, ByLayer

__all__ = [
    "ALiBi",
    "Additive",
    "Around",
    "Attended",
    "BigBird",
    "BlockWindow",
    "ByHead",
    "ByLayer",
    "Capture",
    "Causal",
    "Dense",
    "Dilated",
    "Dot",
    "Dropout",
    "Full",
    "Gaussian",
    "General",
    "Global",
    "GlobalTokens",
    "Location",
    "Mask",
    "Padding",
    "Positions",
    "Prefix",
    "RandomBlocks",
    "RelativeBias",
    "Rotary",
    "Rotation",
    "ScaledDot",
    "Segments",
    "Sigmoid",
    "Strided",
    "TopK",
    "Window",
    "alibi_slopes",
    "attend",
    "attend_on_ring",
    "big_bird",
    "bucket_attend",
    "bucket_counts",
    "entmax15",
    "explain",
    "longformer",
    "lsh_buckets",
    "prefix_lm",
    "relative_buckets",
    "ring_attend",
    "routing_attend",
    "shared_keys",
    "softmax",
    "sparse_transformer",
    "sparsemax",
    "streaming",
    "update_centroids",
]
