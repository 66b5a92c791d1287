"""Array aliases and the legend of dimension letters, one meaning each, used in every annotation.

B batch · T query or target length · S key or source length · N heads · K key-value heads · H head
width · D model width · F feed-forward width · V vocabulary · L layers · P patches · C channels.
`*B` stands for any number of leading batch axes. Annotations are checked only while tests run.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Integer, Key, PyTree, Shaped, UInt

__all__ = [
    "Array",
    "ArrayLike",
    "Bool",
    "Float",
    "Int",
    "Integer",
    "Key",
    "PyTree",
    "Shaped",
    "UInt",
    "wide_dtype",
]


def wide_dtype(*arrays: Any) -> jnp.dtype:
    """float64 if an array is of that, else float32: the dtype of sums over narrower floats.

    Promotion by JAX would do, but its strict mode has none of float16 or bfloat16 to float32.
    """
    return jnp.dtype("float64" if any(x.dtype == "float64" for x in arrays) else "float32")
