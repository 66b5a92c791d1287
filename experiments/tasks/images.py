"""Images as the tasks give them to networks."""

from typing import Any

import jax.numpy as jnp

from attn_research.types import Array, Float


def as_floats(images: Any) -> Float[Array, "..."]:
    """Bytes as numbers from -1 to 1."""
    return jnp.asarray(images, jnp.float32) / 127.5 - 1
