"""Attention of a score, a mask, a normalizer and an implementation.

Scores, masks, biases and normalizers are callable pytrees: arrays are leaves, structure is static
and hashable, and equal ones trace once. `attend` puts them together.
"""

from attn_research.attention.api import attend, explain
from attn_research.attention.array_masks import Around, Dense, Padding, Segments
from attn_research.attention.call import Attended, Capture
from attn_research.attention.masks import Causal, Full, Mask, Window
from attn_research.attention.normalizers import Dropout, Gaussian, softmax
from attn_research.attention.positions import Positions
from attn_research.attention.relative import ALiBi, RelativeBias, alibi_slopes, relative_buckets
from attn_research.attention.rotary import Rotary, Rotation
from attn_research.attention.scores import Additive, Dot, General, Location, ScaledDot

__all__ = [
    "ALiBi",
    "Additive",
    "Around",
    "Attended",
    "Capture",
    "Causal",
    "Dense",
    "Dot",
    "Dropout",
    "Full",
    "Gaussian",
    "General",
    "Location",
    "Mask",
    "Padding",
    "Positions",
    "RelativeBias",
    "Rotary",
    "Rotation",
    "ScaledDot",
    "Segments",
    "Window",
    "alibi_slopes",
    "attend",
    "explain",
    "relative_buckets",
    "softmax",
]
