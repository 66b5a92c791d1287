"""Images as the tasks give them to networks, and names of the maps over them."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from attn_research.types import Array, Float


def as_floats(images: Any) -> Float[Array, "..."]:
    """Bytes as numbers from -1 to 1."""
    return jnp.asarray(images, jnp.float32) / 127.5 - 1


def numbered(words: Sequence[str]) -> list[str]:
    """The words as names of their own: one that was there before gets its place."""
    return [
        f"{word} ({place})" if word in words[: place - 1] else word
        for place, word in enumerate(words, 1)
    ]
