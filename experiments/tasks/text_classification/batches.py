"""Batches of encoded examples: those of training by the config, and every example once."""

import logging
from collections.abc import Iterator

import numpy as np

from attn_research.data.batching import (
    Batches,
    bucket_bounds,
    ordered_batches,
    spread_evenly,
)
from attn_research.data.text.examples import (
    CollateExamples,
    EncodedExamples,
    Frame,
    PackedExamples,
)
from attn_research.data.text.rows import Packing
from experiments.harness.config import Config, config_placement
from experiments.tasks import batching
from experiments.tasks.text_classification.config import LabelledTextConfig
from experiments.tasks.text_classification.data import labels_of, num_texts


def make_batches(
    config: Config, examples: EncodedExamples, frame: Frame
) -> Batches | PackedExamples:
    """The training batches; logs how much of them is padding, and how many shapes they have."""
    if config.task.batching.batching == "packed":
        return _packed(config, examples, frame)
    collate = _collate(config, frame)
    return batching.make_batches(config, examples, _longest(examples), collate=collate)


def _packed(config: Config, examples: EncodedExamples, frame: Frame) -> PackedExamples:
    part = config.task.batching
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


def check_unpacked(config: Config) -> None:
    """ValueError for texts that share rows, beside patterns and global tokens that are of a row."""
    if config.task.batching.batching == "packed":
        raise ValueError(
            "--batching=packed: patterns and global tokens here are of rows of one text; give "
            "--batching=sorted or tokens"
        )


def largest_batch(config: Config) -> tuple[int, int]:
    """The rows and the length of a batch of the longest texts."""
    return batching.largest_batch(config, longest(config.task.text))


def eval_batches(
    config: Config, examples: EncodedExamples, frame: Frame, batch_size: int = 64
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Every example once, as (indices, batch), in few shapes."""
    bounds = bucket_bounds(_longest(examples), max(16, config.task.batching.bucket_width))
    return ordered_batches(examples, batch_size, bounds, _collate(config, frame))


def longest(text: LabelledTextConfig) -> int:
    """The ids of the longest example: each text ends with one."""
    return text.max_words + num_texts(text) + text.class_token


def _collate(config: Config, frame: Frame) -> CollateExamples:
    return CollateExamples(labels_of(config.task.text), frame.end)


def _longest(examples: EncodedExamples) -> int:
    return int(examples.lengths.max(initial=1))


def draw(examples: EncodedExamples, count: int, seed: int) -> EncodedExamples:
    """So many examples, drawn by a seed; ValueError for more than there are."""
    if count > len(examples):
        raise ValueError(f"--num_labelled={count}: there are {len(examples)} training examples")
    drawn = np.random.default_rng(seed).choice(len(examples), count, replace=False)
    return EncodedExamples([examples[i] for i in sorted(drawn)])


def sample(examples: EncodedExamples, count: int = 1000) -> EncodedExamples:
    """Examples evenly spread over a corpus: enough to estimate a loss on it."""
    return EncodedExamples([examples[i] for i in spread_evenly(len(examples), count)])
