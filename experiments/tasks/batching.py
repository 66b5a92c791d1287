"""Batches of examples of different lengths, as the tasks on text share them."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, Literal

from attn_research.data.batching import (
    Batches,
    EncodedPairs,
    Plan,
    SortedWindows,
    TokenBuckets,
    bucket_bounds,
)
from experiments.harness.config import Clause, Config, config_placement, padded_rows, setting

PACKED = {"batching": ("packed",)}


def bucket_width(default: int, needs: Clause | Sequence[Clause] = ()) -> Any:
    """The field `bucket_width`, which a task may use in evaluation however it trains."""
    return setting(
        default,
        "Tokens between two lengths that batches are padded to: fewer shapes, or less padding.",
        1,
        needs=needs,
    )


@dataclasses.dataclass(frozen=True)
class BatchingConfig:
    """Batches: how training examples share them."""

    batching: Literal["sorted", "tokens", "packed"] = setting(
        "sorted",
        "Batches of --batch_size examples sorted by length within 20 batches, of a budget of "
        "tokens, or of rows that several examples share.",
    )
    batch_size: int = setting(80, "Examples of a batch.", 1, needs={"batching": ("sorted",)})
    batch_tokens: int = setting(
        2000,
        "Padded tokens of a batch, in translation of each side, for --batching=tokens and packed.",
        1,
        needs={"batching": ("tokens", "packed")},
    )
    row_length: int = setting(128, "Tokens of a row of --batching=packed.", 2, needs=PACKED)
    bucket_width: int = bucket_width(10, {"batching": ("sorted", "tokens")})

    @property
    def packed_rows(self) -> int:
        """The rows of a packed batch."""
        return max(1, self.batch_tokens // self.row_length)

    def plan(self, bounds: tuple[int, ...]) -> Plan:
        """The batches of examples that are padded to some of these lengths."""
        if self.batching == "tokens":
            return TokenBuckets(self.batch_tokens, bounds)
        return SortedWindows(self.batch_size)


BATCHING = BatchingConfig()


def make_batches(config: Config, examples: EncodedPairs, longest: int, **options: Any) -> Batches:
    """Batches of examples of similar length, of which `longest` ids are the most.

    `options` are of `Batches`. Logs how much of a batch is padding, and the shapes. ValueError
    where there are more of them than --max_compiles, with a flag that helps.
    """
    batches = _make(config, examples, longest, options)
    shapes = batches.shapes()
    logging.info(
        "%d examples, %d batches an epoch, %.1f%% of positions hold words, %d shapes to compile: "
        "%s",
        len(examples),
        batches.per_epoch,
        100 * batches.padding_efficiency(),
        len(shapes),
        " ".join(f"{rows}x{length}" for rows, length in shapes),
    )
    limit, width, found = config.execution.max_compiles, config.task.batching.bucket_width, shapes
    if not limit or len(shapes) <= limit:
        return batches
    while len(found) > limit and width <= longest:
        width *= 2
        found = _make(config.replace(bucket_width=width), examples, longest, options).shapes()
    advice = f"--bucket_width={width} makes {len(found)}"
    if len(found) > limit:
        advice = "--batching=packed makes 1, where the model takes it"
    raise ValueError(f"--max_compiles={limit}: batches have {len(shapes)} shapes; {advice}")


def _make(config: Config, examples: EncodedPairs, longest: int, options: dict) -> Batches:
    part, train = config.task.batching, config.train
    bounds = bucket_bounds(longest, part.bucket_width)
    return Batches(
        examples,
        part.plan(bounds),
        bounds=bounds,
        seed=train.seed,
        num_batches=train.num_steps,
        row_multiple=config_placement(config).row_multiple,
        **options,
    )


def largest_batch(config: Config, longest: int) -> tuple[int, int]:
    """The rows and the length of a batch of examples of `longest` ids, empty rows included."""
    part = config.task.batching
    if part.batching == "packed":
        return padded_rows(config, part.packed_rows), part.row_length
    rows = part.batch_size
    if part.batching == "tokens":
        rows = max(1, part.batch_tokens // longest)
    return padded_rows(config, rows), longest
