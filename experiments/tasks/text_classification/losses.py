"""Losses and measurements of classes, tags and numbers, as sums."""

import math

import jax.numpy as jnp

from attn_research.data.text.labelled import Labels
from attn_research.training.objectives import cross_entropy
from attn_research.training.step import Sums
from attn_research.types import Array, Float, Shaped

_SIDES = "found", "there", "both"


def loss_sums(
    labels: Labels,
    logits: Float[Array, "*B V"],
    label: Shaped[Array, "*B"],
    *,
    label_smoothing: float = 0.0,
) -> Sums:
    """Cross entropy of classes and tags, or the squared error of numbers, and what is reported.

    A class below 0, or a number NaN, is that of no example. Of tags, and of two classes, those but
    class 0, which is "O" among tags, are counted: as found, in the labels, and where both agree.
    """
    if labels == "numbers":
        return _squared_error(logits[..., 0], label)
    valid = label >= 0
    total, count = cross_entropy(logits, label, valid, label_smoothing)
    found = logits.argmax(axis=-1)
    right = (found == label) & valid
    counted = {"correct": right}
    if labels == "tags" or logits.shape[-1] == 2:
        counted |= {"found": (found > 0) & valid, "there": label > 0, "both": right & (label > 0)}
    sums = {name: jnp.sum(each, dtype=jnp.float32) for name, each in counted.items()}
    return Sums(total, count, {"examples": count} | sums)


def _squared_error(found: Float[Array, "*B"], gold: Float[Array, "*B"]) -> Sums:
    valid = ~jnp.isnan(gold)
    # Zeros first, so that no NaN reaches a gradient.
    gold, found = jnp.where(valid, gold, 0), jnp.where(valid, found.astype(jnp.float32), 0)
    count = jnp.sum(valid, dtype=jnp.float32)
    moments = {"x": found, "y": gold, "xx": found**2, "yy": gold**2, "xy": found * gold}
    counts = {"examples": count} | {name: jnp.sum(each) for name, each in moments.items()}
    return Sums(jnp.sum((found - gold) ** 2), count, counts)


def summarize(labels: Labels, sums: Sums) -> dict[str, float]:
    """The loss and accuracy of an example, or the loss and Pearson's correlation of numbers.

    Of tags also F1, of single tags as those of spans need whole texts; of two classes Matthews'
    correlation.
    """
    loss, weight, counts = sums.total / sums.weight, sums.weight, sums.counts
    if labels != "numbers":
        measured = {"loss": loss, "accuracy": counts["correct"] / weight}
        if labels == "tags":
            either = counts["found"] + counts["there"]
            return measured | {"f1": 2 * counts["both"] / either if either else 0.0}
        if "both" in counts:
            measured["matthews"] = _matthews(weight, **{name: counts[name] for name in _SIDES})
        return measured
    mean_x, mean_y = counts["x"] / weight, counts["y"] / weight
    spread_x = max(0.0, counts["xx"] / weight - mean_x**2)
    spread_y = max(0.0, counts["yy"] / weight - mean_y**2)
    norm = math.sqrt(spread_x * spread_y)
    covariance = counts["xy"] / weight - mean_x * mean_y
    return {"loss": loss, "pearson": covariance / norm if norm else 0.0}


def _matthews(examples: float, found: float, there: float, both: float) -> float:
    """Matthews' correlation of two classes, from how often the second is found, there, and both."""
    spread = found * (examples - found) * there * (examples - there)
    return (examples * both - found * there) / math.sqrt(spread) if spread > 0 else 0.0
