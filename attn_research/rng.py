"""Random keys whose draws belong to examples, however their batch is cut.

A draw of shape [B, ...] gives row b what depends on the key, on which example of the whole batch
row b is, and on the place within the row: a device that holds a part of the batch, or a step that
takes it in parts, draws what one that holds it whole would. Any Flax module draws so when it is
given such a key, because keys made of it by `fold_in` and `split` know their examples too.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl
from jaxtyping import ArrayLike

from attn_research.types import Int, Key, UInt

_ODD = np.uint32(0x9E3779B9)  # 2^32 over the golden ratio: multiples of it are far apart


def example_key(
    key: Key[jax.Array, ""], first: Int[ArrayLike, ""] = 0, stride: Int[ArrayLike, ""] = 1
) -> Key[jax.Array, ""]:
    """A key that draws for examples `first`, `first + stride`, ... of a batch, one for each row.

    Its bits decide dropouts and masks well; they are not for secrets.
    """
    words = jax.random.key_data(key)
    if jax.random.key_impl(key) == _IMPLEMENTATION:
        words = words[:2]
    elif words.shape != (2,):
        raise ValueError(f"{key} is not a threefry key: make it by jax.random.key(seed)")
    place = jnp.stack([jnp.asarray(first, jnp.uint32), jnp.asarray(stride, jnp.uint32)])
    return jax.random.wrap_key_data(jnp.concatenate([words, place]), impl=_IMPLEMENTATION)


def mixed(
    first: UInt[ArrayLike, "..."], second: UInt[ArrayLike, "..."], index: UInt[ArrayLike, "..."]
) -> UInt[jax.Array, "..."]:
    """A random word for each index of a sequence that two words of a seed name.

    The index and the seed go through two rounds of a 32-bit mixer in which each bit of its input
    reverses each bit of its output half the time.
    """
    return _mix(_mix(first ^ (index * _ODD)) + second)


def _mix(word):
    # Multipliers found by C. Wellons' search for the least bias, 2018.
    word = (word ^ (word >> 16)) * np.uint32(0x7FEB352D)
    word = (word ^ (word >> 15)) * np.uint32(0x846CA68B)
    return word ^ (word >> 16)


def _seed(seed):
    words = jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))
    return jnp.concatenate([words, jnp.array([0, 1], jnp.uint32)])


# Numbers that keys are made of, by what they are for, so that no two uses of a key are alike.
_SPLIT, _FOLD, _ROW = (np.uint32(use << 30) for use in range(3))


def _derived(words, index):
    """Words of new keys [*index, 4] for numbers of any shape."""
    first = mixed(words[0], words[1], index)
    second = mixed(words[1] + np.uint32(1), first, index)
    place = jnp.broadcast_to(words[2:], (*index.shape, 2))
    return jnp.concatenate([first[..., None], second[..., None], place], axis=-1)


def _fold_in(words, index):
    return _derived(words, jnp.asarray(index).astype(jnp.uint32) ^ _FOLD)


def _split(words, shape):
    return _derived(words, jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape) ^ _SPLIT)


def _random_bits(words, bit_width, shape):
    if bit_width > 32:
        raise ValueError("keys of examples draw at most 32 bits at a time")
    rows, columns = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
    example = words[2] + words[3] * jnp.arange(rows, dtype=jnp.uint32)
    of_example = _derived(words, example ^ _ROW)[:, :, None]
    index = jnp.arange(columns, dtype=jnp.uint32)[None]
    bits = mixed(of_example[:, 0], of_example[:, 1], index).reshape(shape)
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
