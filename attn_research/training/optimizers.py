"""Optimizers by name, each with global-norm clipping."""

from collections.abc import Callable

import optax

OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    # Zeiler 2012, with the constants of Bahdanau et al. 2014, appendix B.2; its rate is 1.
    "adadelta": lambda rate: optax.adadelta(rate, rho=0.95, eps=1e-6),
    "adam": optax.adam,
}


def make_optimizer(
    name: str, learning_rate: float | optax.Schedule, clip_norm: float
) -> optax.GradientTransformation:
    """The named optimizer on gradients whose L2 norm is at most `clip_norm`."""
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer {name!r} is not one of {', '.join(OPTIMIZERS)}")
    return optax.chain(optax.clip_by_global_norm(clip_norm), OPTIMIZERS[name](learning_rate))


def warmup_then_decay(rate: float, warmup: int, steps: int) -> optax.Schedule:
    """Linear from 0 to `rate` over `warmup` steps, then along half a cosine to rate / 100."""
    return optax.warmup_cosine_decay_schedule(0.0, rate, warmup, max(steps, warmup + 1), rate / 100)
