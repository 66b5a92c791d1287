"""Encoded pairs in batches: those of training by the knobs of a run, and every pair once."""

import dataclasses
import logging
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from attn_research.data.batching import (
    Batches,
    EncodedPairs,
    SortedWindows,
    TokenBuckets,
    bounds_for,
    ordered_batches,
    pair_lengths,
)
from attn_research.data.encoding import Encoded
from attn_research.data.packing import PackedBatches
from attn_research.data.tokenizers import BOS
from attn_research.types import Array, Int
from experiments.paper import make_config_placement
from experiments.translation import TranslationConfig


def make_batches(config: TranslationConfig, pairs: EncodedPairs) -> Batches | PackedBatches:
    """The training batches; says how much of them is padding, and how many shapes there are."""
    if config.batching == "packed":
        return _pack(config, pairs)
    batches = _bucket(config, pairs)
    logging.info(
        "%d pairs, %d batches an epoch, %.1f%% of positions hold words, %d shapes to compile: %s",
        len(pairs),
        batches.per_epoch,
        100 * batches.padding_efficiency(),
        len(batches.shapes()),
        " ".join(f"{rows}x{length}" for rows, length in batches.shapes()),
    )
    _check_shapes(config, pairs, len(batches.shapes()))
    return batches


def _bucket(config: TranslationConfig, pairs: EncodedPairs) -> Batches:
    bounds = bounds_for(int(pair_lengths(pairs).max(initial=1)) - 1, config.bound_step)
    if config.batching == "sorted":
        plan = SortedWindows(config.batch_size)
    else:
        plan = TokenBuckets(config.batch_tokens, bounds)
    return Batches(
        pairs,
        plan,
        bounds=bounds,
        seed=config.seed,
        num_batches=config.num_steps,
        row_multiple=make_config_placement(config).row_multiple,
    )


def _check_shapes(config: TranslationConfig, pairs: EncodedPairs, count: int) -> None:
    """ValueError where batches have more shapes than --max_compiles, with a flag that helps."""
    limit, wider = config.max_compiles, config
    if not limit or count <= limit:
        return
    found = count
    while found > limit and wider.bound_step <= config.max_words:
        wider = dataclasses.replace(wider, bound_step=2 * wider.bound_step)
        found = len(_bucket(wider, pairs).shapes())
    way = f"--bound_step={wider.bound_step} makes {found}"
    if found > limit:
        way = "--batching=packed makes 1, where the model takes it"
    raise ValueError(f"--max_compiles={limit}: batches have {count} shapes; {way}")


def _pack(config: TranslationConfig, pairs: EncodedPairs) -> PackedBatches:
    rows = max(1, config.batch_tokens // config.row_length)
    batches = PackedBatches(
        pairs,
        rows=rows,
        length=config.row_length,
        seed=config.seed,
        row_multiple=make_config_placement(config).row_multiple,
    )
    logging.info(
        "%d pairs in rows of %d, %d batches an epoch, %.1f%% of positions hold words",
        len(pairs),
        config.row_length,
        batches.per_epoch,
        100 * batches.padding_efficiency(),
    )
    return batches


def eval_batches(
    config: TranslationConfig, pairs: EncodedPairs, batch_size: int = 64
) -> Iterator[tuple[np.ndarray, dict]]:
    """Every pair once, as (indices, batch), in few shapes."""
    longest = int(pair_lengths(pairs).max()) - 1
    return ordered_batches(pairs, batch_size, bounds_for(longest, max(20, config.bound_step)))


def sample(pairs: EncodedPairs, count: int = 500) -> EncodedPairs:
    """Pairs evenly spread over a corpus: enough to estimate a loss on it."""
    chosen = [pairs[i] for i in range(0, len(pairs), max(1, len(pairs) // count))][:count]
    lengths = np.array([[len(side) for side in pair] for pair in chosen], np.uint16)
    return Encoded(np.concatenate([side for pair in chosen for side in pair]), lengths)


def previous_words(
    target: Int[Array, "B T"], segments: Int[Array, "B T"] | None = None
) -> Int[Array, "B T"]:
    """What stands before each target word: BOS, then the word before; BOS in every segment."""
    before = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
    if segments is None:
        return before
    begins = segments != jnp.pad(segments[:, :-1], ((0, 0), (1, 0)))
    return jnp.where(begins, BOS, before)
