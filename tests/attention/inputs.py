"""Inputs of attention for the tests: random arrays, segments of packed rows, local options."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from attn_research.attention import Around, Gaussian, Segments
from attn_research.types import Array


def random_arrays(*shapes: tuple[int, ...], dtype: str = "float32", seed: int = 0):
    """Arrays of standard normal numbers, one of each shape."""
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.standard_normal(s).astype(jnp.dtype(dtype))) for s in shapes)


def three_segments(batch: int, num_queries: int, num_keys: int) -> Segments:
    """Three segments a row, of about equal length; the queries of row b begin in segment b."""
    queries, keys = (np.arange(length) * 3 // length for length in (num_queries, num_keys))
    rows = np.arange(batch)[:, None]
    return Segments(jnp.asarray(queries + rows), jnp.asarray(np.tile(keys, (batch, 1))))


def local_p(center: Array, half_width: float) -> dict[str, Any]:
    """The options of predictive local attention. Luong, Pham, Manning 2015, section 3.2."""
    return {"mask": Around(center, half_width), "normalizer": Gaussian(center, half_width / 2)}
