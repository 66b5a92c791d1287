"""Sizes of prompts and caches in buckets, so that few programs serve all prompts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

# Up to a number of tokens, prompt and continuation together: the tokens of a chunk of the prompt.
_CHUNKS = {512: 32, 4096: 128}
_LARGEST_CHUNK = 512


class Bucket(NamedTuple):
    """The shapes of a compiled program: rows, tokens of a chunk, and slots of the cache."""

    rows: int
    chunk: int
    num_slots: int


class Padded(NamedTuple):
    """Prompts but for their last tokens, with padding before them, in rows of whole chunks.

    There are `num_chunks`, as the longest prompt needs; what is after them is never read.
    """

    ids: Int32[np.ndarray, "B num_slots"]
    valid: Bool[np.ndarray, "B num_slots"]
    last: Int32[np.ndarray, "B"]
    num_chunks: int


def find_bucket(prompts: Sequence[Sequence[int]], num_tokens: int, chunk: int | None) -> Bucket:
    """The bucket of a batch of prompts that go on for `num_tokens` tokens.

    Rows are a power of two and slots a multiple of the chunk, whose size follows from the number of
    tokens where it is None.
    """
    longest = max(map(len, prompts))
    if chunk is None:
        fitting = [size for most, size in _CHUNKS.items() if longest + num_tokens <= most]
        chunk = fitting[0] if fitting else _LARGEST_CHUNK
    rows = 1 << (len(prompts) - 1).bit_length()
    return Bucket(rows, chunk, _up(_up(longest - 1, chunk) + num_tokens, chunk))


def pad_prompts(prompts: Sequence[Sequence[int]], bucket: Bucket) -> Padded:
    """The prompts, each with its padding on the left. Rows without a prompt are padding alone."""
    end = _up(max(map(len, prompts)) - 1, bucket.chunk)
    ids = np.zeros((bucket.rows, bucket.num_slots), np.int32)
    valid, last = np.zeros(ids.shape, bool), np.zeros(bucket.rows, np.int32)
    for row, prompt in enumerate(prompts):
        *before, last[row] = prompt
        ids[row, end - len(before) : end] = before
        valid[row, end - len(before) : end] = True
    return Padded(ids, valid, last, end // bucket.chunk)


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
