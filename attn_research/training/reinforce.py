"""REINFORCE: gradients through choices that were drawn, and the moving average of their reward."""

import jax
import jax.numpy as jnp
import optax

from attn_research.training.optimizers import by_path
from attn_research.types import Array, Bool, Float

BASELINE = "baseline"  # the name of the parameter that is a moving average
DECAY = 0.9


def reinforce(
    rewards: Float[Array, "B"],
    log_probs: Float[Array, "B"],
    baseline: Float[Array, ""],
    valid: Bool[Array, "B"],
    weight: float = 1.0,
) -> Float[Array, ""]:
    """A term 0 of a loss, whose gradient is that of the expected reward through the choices.

        -λ Σ (r - b) ∇log p(s)

    Williams 1992; Xu et al. 2015, equations 11 and 12. `log_probs` are those of the choices of an
    example, all together; λ is `weight`; `baseline` is one for all examples. Its gradient is that
    of a squared error, Σ (b - r), with which `moving_average` makes of it b ← 0.9 b + 0.1 mean(r)
    where the loss is the mean over examples.
    """
    rewards = jax.lax.stop_gradient(rewards)
    advantages = weight * (rewards - jax.lax.stop_gradient(baseline))
    losses = (baseline - rewards) ** 2 / 2 - advantages * log_probs
    total = jnp.sum(jnp.where(valid, losses, 0))
    return total - jax.lax.stop_gradient(total)


def moving_average(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer of all parameters but those named "baseline", which are moving averages."""

    def label(path: str) -> str:
        return BASELINE if BASELINE in path.rpartition("/")[2] else "learned"

    return by_path({"learned": optimizer, BASELINE: optax.sgd(1 - DECAY)}, label)
