"""Normalizers by name.

`NORMALIZERS` is the one table of normalizers that flags and layers read; a new one is a line of it.
"""

import math
from collections.abc import Callable

from attn_research.attention import Sigmoid, TopK, entmax15, softmax, sparsemax
from attn_research.types import Array

Normalizer = Callable[..., Array]
# Of a number of keys, for normalizers that have such.
NORMALIZERS: dict[str, Callable[[int], Normalizer]] = {
    "softmax": lambda keys: softmax,
    "sparsemax": lambda keys: sparsemax,
    "entmax15": lambda keys: entmax15,
    # Equal scores of so many keys give weights that sum to about 1.
    "sigmoid": lambda keys: Sigmoid(-math.log(keys)),
    "top_k": lambda keys: TopK(keys),
}
# The names for which the number makes a difference.
COUNTING_NORMALIZERS = tuple(name for name, make in NORMALIZERS.items() if make(1) != make(2))
