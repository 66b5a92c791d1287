"""Batches of encoded examples: those of training by the config, and every example once."""

import logging
from collections.abc import Iterator

import numpy as np

from attn_research.data.batching import (
    Batches,
    SortedWindows,
    TokenBuckets,
    bucket_bounds,
    ordered_batches,
)
from attn_research.data.text.examples import (
    CollateExamples,
    EncodedExamples,
    Frame,
    PackedExamples,
)
from attn_research.data.text.rows import Packing
from experiments.harness.config import Config, config_placement, padded_rows
from experiments.tasks.text_classification.config import LabelledTextConfig
from experiments.tasks.text_classification.data import labels_of


def make_batches(
    config: Config, examples: EncodedExamples, frame: Frame
) -> Batches | PackedExamples:
    """The training batches; logs how much of them is padding, and how many shapes they have."""
    part = config.task.batches
    if part.batching == "packed":
        return _packed(config, examples, frame)
    bounds = _bounds(examples, part.bucket_width)
    plan = SortedWindows(part.batch_size)
    if part.batching == "tokens":
        plan = TokenBuckets(part.batch_tokens, bounds)
    batches = Batches(
        examples,
        plan,
        bounds=bounds,
        seed=config.train.seed,
        num_batches=config.train.num_steps,
        row_multiple=config_placement(config).row_multiple,
        collate=_collate(config, frame),
    )
    shapes, limit = batches.shapes(), config.execution.max_compiles
    if limit and len(shapes) > limit:
        raise ValueError(
            f"--max_compiles={limit}: batches have {len(shapes)} shapes; a larger --bucket_width "
            "makes fewer"
        )
    logging.info(
        "%d batches an epoch, %.1f%% of positions hold words, %d shapes to compile",
        batches.per_epoch,
        100 * batches.padding_efficiency(),
        len(shapes),
    )
    return batches


def _packed(config: Config, examples: EncodedExamples, frame: Frame) -> PackedExamples:
    part = config.task.batches
    packing = Packing(
        examples.lengths[:, 0] + 1,
        part.packed_rows,
        part.row_length,
        config.train.seed,
        config_placement(config).row_multiple,
        part.row_examples,
    )
    logging.info(
        "%d batches an epoch, %.1f%% of positions hold words, %.1f examples a batch",
        packing.per_epoch,
        100 * packing.efficiency,
        len(examples) / packing.per_epoch,
    )
    return PackedExamples(examples, _collate(config, frame), packing)


def largest_batch(config: Config) -> tuple[int, int]:
    """The rows and the length of a batch of the longest texts."""
    part, text = config.task.batches, config.task.text
    if part.batching == "packed":
        return padded_rows(config, part.packed_rows), part.row_length
    length = longest(text)
    rows = part.batch_size
    if part.batching == "tokens":
        rows = max(1, part.batch_tokens // length)
    return padded_rows(config, rows), length


def eval_batches(
    config: Config, examples: EncodedExamples, frame: Frame, batch_size: int = 64
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Every example once, as (indices, batch), in few shapes."""
    bounds = _bounds(examples, max(16, config.task.batches.bucket_width))
    return ordered_batches(examples, batch_size, bounds, _collate(config, frame))


def longest(text: LabelledTextConfig) -> int:
    """The ids of the longest example: two texts end with an id each."""
    return text.max_words + 2 + text.class_token


def _collate(config: Config, frame: Frame) -> CollateExamples:
    return CollateExamples(labels_of(config.task.text), frame.end)


def _bounds(examples: EncodedExamples, width: int) -> tuple[int, ...]:
    return bucket_bounds(int(examples.lengths.max(initial=1)), width)


def sample(examples: EncodedExamples, count: int = 1000) -> EncodedExamples:
    """Examples evenly spread over a corpus: enough to estimate a loss on it."""
    every = max(1, len(examples) // count)
    return EncodedExamples([examples[i] for i in range(0, len(examples), every)][:count])
