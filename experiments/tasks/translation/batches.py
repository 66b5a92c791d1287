"""Batches of encoded pairs: those of training by the config, and every pair once."""

import logging
from collections.abc import Iterator

import numpy as np

from attn_research.data.batching import (
    Batches,
    EncodedPairs,
    bucket_bounds,
    ordered_batches,
    pair_lengths,
)
from attn_research.data.packing import PackedBatches
from attn_research.data.text.encoding import Encoded
from experiments.harness.config import Config, config_placement
from experiments.tasks import batching
from experiments.tasks.batching import BatchingConfig


def make_batches(config: Config, pairs: EncodedPairs) -> Batches | PackedBatches:
    """The training batches; logs how much of them is padding, and how many shapes they have."""
    if config.task.batching.batching == "packed":
        return _pack(config, pairs)
    return batching.make_batches(config, pairs, int(pair_lengths(pairs).max(initial=1)) - 1)


def _pack(config: Config, pairs: EncodedPairs) -> PackedBatches:
    part = config.task.batching
    batches = PackedBatches(
        pairs,
        rows=part.packed_rows,
        length=part.row_length,
        seed=config.train.seed,
        row_multiple=config_placement(config).row_multiple,
    )
    logging.info(
        "%d pairs in rows of %d, %d batches an epoch, %.1f%% of positions hold words",
        len(pairs),
        part.row_length,
        batches.per_epoch,
        100 * batches.padding_efficiency(),
    )
    return batches


def largest_batch(config: Config) -> dict[str, tuple[int, int]]:
    """The shapes of a batch of the longest sentences, by name."""
    names = ["source", "target"]
    if config.task.batching.batching == "packed":
        names += ["source_segments", "target_segments"]
    return dict.fromkeys(names, batching.largest_batch(config, config.task.encoding.max_words + 1))


def eval_batches(
    config: BatchingConfig, pairs: EncodedPairs, batch_size: int = 64
) -> Iterator[tuple[np.ndarray, dict]]:
    """Every pair once, as (indices, batch), in few shapes."""
    longest = int(pair_lengths(pairs).max(initial=1)) - 1
    return ordered_batches(pairs, batch_size, bucket_bounds(longest, max(20, config.bucket_width)))


def sample(pairs: EncodedPairs, count: int = 500) -> EncodedPairs:
    """Pairs evenly spread over a corpus: enough to estimate a loss on it."""
    chosen = [pairs[i] for i in range(0, len(pairs), max(1, len(pairs) // count))][:count]
    lengths = np.array([[len(side) for side in pair] for pair in chosen], np.uint16)
    return Encoded(np.concatenate([side for pair in chosen for side in pair]), lengths)
