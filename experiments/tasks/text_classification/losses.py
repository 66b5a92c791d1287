"""Losses and measurements of classes, tags and numbers, as sums."""

import math

import jax.numpy as jnp

from attn_research.data.text.labelled import Labels
from attn_research.training.objectives import cross_entropy
from attn_research.training.step import Sums
from attn_research.types import Array, Float, Shaped


def loss_sums(
    labels: Labels,
    logits: Float[Array, "*B V"],
    label: Shaped[Array, "*B"],
    *,
    label_smoothing: float = 0.0,
) -> Sums:
    """Cross entropy of classes and tags, or the squared error of numbers, and what is reported.

    A class below 0, or a number NaN, is that of no example.
    """
    if labels == "numbers":
        return _squared_error(logits[..., 0], label)
    valid = label >= 0
    total, count = cross_entropy(logits, label, valid, label_smoothing)
    right = (logits.argmax(axis=-1) == label) & valid
    return Sums(total, count, {"examples": count, "correct": jnp.sum(right, dtype=jnp.float32)})


def _squared_error(found: Float[Array, "*B"], gold: Float[Array, "*B"]) -> Sums:
    valid = ~jnp.isnan(gold)
    # Zeros first, so that no NaN reaches a gradient.
    gold, found = jnp.where(valid, gold, 0), jnp.where(valid, found.astype(jnp.float32), 0)
    count = jnp.sum(valid, dtype=jnp.float32)
    moments = {"x": found, "y": gold, "xx": found**2, "yy": gold**2, "xy": found * gold}
    counts = {"examples": count} | {name: jnp.sum(each) for name, each in moments.items()}
    return Sums(jnp.sum((found - gold) ** 2), count, counts)


def summarize(labels: Labels, sums: Sums) -> dict[str, float]:
    """The loss, and the accuracy, or Pearson's correlation of numbers, of an example."""
    loss, weight, counts = sums.total / sums.weight, sums.weight, sums.counts
    if labels != "numbers":
        return {"loss": loss, "accuracy": counts["correct"] / weight}
    mean_x, mean_y = counts["x"] / weight, counts["y"] / weight
    spread_x = max(0.0, counts["xx"] / weight - mean_x**2)
    spread_y = max(0.0, counts["yy"] / weight - mean_y**2)
    norm = math.sqrt(spread_x * spread_y)
    covariance = counts["xy"] / weight - mean_x * mean_y
    return {"loss": loss, "pearson": covariance / norm if norm else 0.0}
