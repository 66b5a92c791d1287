"""Per-example random keys: draws that do not depend on how a batch is divided.

Row b of a draw of shape [B, ...] depends on the key, on the index of example b in the whole batch,
and on the position within the row. So a device with some rows of a batch, or a microbatch, draws
what the whole batch would. Any Flax module that gets such a key draws like this, because keys
derived from it by `fold_in` and `split` are per-example keys too.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl
from jaxtyping import ArrayLike

from attn_research.types import Int, Key, UInt

_ODD = np.uint32(0x9E3779B9)  # 2^32 over the golden ratio: multiples of it are far apart


def per_example_key(
    key: Key[jax.Array, ""], first: Int[ArrayLike, ""] = 0, stride: Int[ArrayLike, ""] = 1
) -> Key[jax.Array, ""]:
    """The per-example key of rows that are examples `first`, `first + stride`, ... of a batch.

    Its bits are good enough for dropout and masks, not for cryptography.
    """
    words = jax.random.key_data(key)
    if jax.random.key_impl(key) == _IMPLEMENTATION:
        words = words[:2]
    elif words.shape != (2,):
        raise ValueError(f"{key} is not a threefry key: make it by jax.random.key(seed)")
    rows = jnp.stack([jnp.asarray(first, jnp.uint32), jnp.asarray(stride, jnp.uint32)])
    return jax.random.wrap_key_data(jnp.concatenate([words, rows]), impl=_IMPLEMENTATION)


def hash_words(
    first: UInt[ArrayLike, "..."], second: UInt[ArrayLike, "..."], index: UInt[ArrayLike, "..."]
) -> UInt[ArrayLike, "..."]:
    """A 32-bit hash of each index with two words of a seed.

    Index and seed go through two rounds of a 32-bit finalizer in which a change of any input bit
    flips each output bit half the time.
    """
    return _mix(_mix(first ^ (index * _ODD)) + second)


def _mix(word):
    # Multipliers that C. Wellons' search found to have the least bias (2018).
    word = (word ^ (word >> 16)) * np.uint32(0x7FEB352D)
    word = (word ^ (word >> 15)) * np.uint32(0x846CA68B)
    return word ^ (word >> 16)


def _seed(seed):
    words = jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))
    return jnp.concatenate([words, jnp.array([0, 1], jnp.uint32)])


# A tag for each use of a key, so that no two uses hash the same number.
_SPLIT, _FOLD, _ROW = (np.uint32(use << 30) for use in range(3))


def _derived(words, index):
    """The words [*index, 4] of the keys derived for an array of indices."""
    first = hash_words(words[0], words[1], index)
    second = hash_words(words[1] + np.uint32(1), first, index)
    rows = jnp.broadcast_to(words[2:], (*index.shape, 2))
    return jnp.concatenate([first[..., None], second[..., None], rows], axis=-1)


def _fold_in(words, index):
    return _derived(words, jnp.asarray(index).astype(jnp.uint32) ^ _FOLD)


def _split(words, shape):
    return _derived(words, jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape) ^ _SPLIT)


def _random_bits(words, bit_width, shape):
    if bit_width > 32:
        raise ValueError("per-example keys draw at most 32 bits at a time: use a 32-bit dtype")
    rows, columns = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
    example = words[2] + words[3] * jnp.arange(rows, dtype=jnp.uint32)
    of_example = _derived(words, example ^ _ROW)[:, :, None]
    index = jnp.arange(columns, dtype=jnp.uint32)[None]
    bits = hash_words(of_example[:, 0], of_example[:, 1], index).reshape(shape)
    return bits.astype(jnp.dtype(f"uint{bit_width}"))


_IMPLEMENTATION = define_prng_impl(
    key_shape=(4,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="examples",
    tag="ex",
)
