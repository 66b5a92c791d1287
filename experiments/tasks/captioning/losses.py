"""Losses of captions: likelihood, doubly stochastic attention, and choices of regions."""

import jax
import jax.numpy as jnp

from attn_research.models.captioner import Captioned
from attn_research.training.reinforce import reinforce
from attn_research.training.step import Sums
from attn_research.types import Array, Bool, Float, Int
from experiments.tasks.captioning.config import CaptioningConfig


def log_likelihoods(
    logits: Float[Array, "B T V"], target: Int[Array, "B T"], valid: Bool[Array, "B T"]
) -> Float[Array, "B"]:
    """The log probability of each caption, in nats."""
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
    chosen = jnp.take_along_axis(log_probs, target[..., None], axis=-1)[..., 0]
    return jnp.sum(jnp.where(valid, chosen, 0), axis=1)


def uneven_attention(
    weights: Float[Array, "B T S"], valid: Bool[Array, "B T"]
) -> Float[Array, "B"]:
    """Σ_i (1 - Σ_t α_ti)² of each caption: doubly stochastic attention (Xu et al. 2015, eq. 14)."""
    totals = jnp.sum(jnp.where(valid[..., None], weights, 0), axis=1)
    return jnp.sum((1 - totals) ** 2, axis=-1)


def loss_sums(
    config: CaptioningConfig, found: Captioned, target: Int[Array, "B T"],
    valid: Bool[Array, "B T"], *, train: bool,
) -> Sums:  # fmt: skip
    """The loss of captions, a mean over captions; in training with the terms of attention.

    Hard attention maximizes the expected log likelihood over its choices, plus their entropy.
    """
    rewards, is_caption = log_likelihoods(found.logits, target, valid), jnp.any(valid, axis=1)
    total = -jnp.sum(rewards)
    counts = {
        "tokens": jnp.sum(valid, dtype=jnp.float32),
        "captions": jnp.sum(is_caption, dtype=jnp.float32),
    }
    if train and found.weights is not None and config.penalty:
        uneven = jnp.where(is_caption, uneven_attention(found.weights, valid), 0)
        total += config.penalty * jnp.sum(uneven)
    if train and found.log_probs is not None:
        of_choices = jnp.sum(jnp.where(valid, found.log_probs, 0), axis=1)
        total += reinforce(rewards, of_choices, found.baseline, is_caption, config.reward)
        total -= config.entropy * jnp.sum(jnp.where(valid, found.entropy, 0))
    return Sums(total, counts["captions"], counts)


def pointing_counts(
    weights: Float[Array, "B T S"], regions: Bool[Array, "B T S"]
) -> dict[str, Float[Array, ""]]:
    """How many words have a gold region, and of how many the largest weight is inside."""
    largest = jax.nn.one_hot(weights.argmax(axis=-1), weights.shape[-1], dtype=bool)
    return {
        "gold": jnp.sum(jnp.any(regions, axis=-1), dtype=jnp.float32),
        "pointed": jnp.sum(largest & regions, dtype=jnp.float32),
    }
