"""Optimizers by name, each with global-norm clipping."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from attn_research.types import PyTree

OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    # Zeiler 2012, with the constants of Bahdanau et al. 2014, appendix B.2; its rate is 1.
    "adadelta": lambda rate: optax.adadelta(rate, rho=0.95, eps=1e-6),
    "adam": optax.adam,
    "adamw": functools.partial(optax.adamw, weight_decay=0.0),
    # Vaswani et al. 2017, section 5.3.
    "adam_2017": lambda rate: optax.adam(rate, b1=0.9, b2=0.98, eps=1e-9),
    "sgd": optax.sgd,
}


def make_optimizer(
    name: str,
    learning_rate: float | optax.Schedule,
    clip_norm: float,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """The named optimizer on gradients whose L2 norm is at most `clip_norm`.

    `weight_decay` is that of adamw, on matrices alone: biases, gains and other vectors keep theirs.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer {name!r} is not one of {', '.join(OPTIMIZERS)}")
    make = OPTIMIZERS[name]
    if weight_decay:
        if name != "adamw":
            raise ValueError(f"weight decay {weight_decay} is that of adamw, not of {name}")
        make = functools.partial(make, weight_decay=weight_decay, mask=_matrices)
    return optax.chain(optax.clip_by_global_norm(clip_norm), make(learning_rate))


def _matrices(params: PyTree) -> PyTree:
    def is_matrix(path, leaf) -> bool:
        return jax.tree_util.keystr(path[-1:], simple=True) in ("kernel", "embedding")

    return jax.tree_util.tree_map_with_path(is_matrix, params)


def make_schedule(
    name: str,
    rate: float,
    steps: int,
    *,
    warmup: int = 0,
    halve_after: int = 0,
    halve_every: int = 1,
) -> optax.Schedule:
    """The named rate over `steps` updates.

    "constant"; "cosine", linear from 0 over `warmup`, then along half a cosine to rate / 100;
    "halving", which halves after `halve_after` and every `halve_every` from there (Luong, Pham,
    Manning 2015, section 4.1); or "inverse_sqrt", linear over `warmup`, then falling with the root
    of the step (Vaswani et al. 2017, equation 3, whose rate is (d_model · warmup)^-½).
    """
    if name == "constant":
        return optax.constant_schedule(rate)
    if name == "cosine":
        steps = max(steps, warmup + 1)
        return optax.warmup_cosine_decay_schedule(0.0, rate, warmup, steps, rate / 100)
    if name == "halving":
        times = range(halve_after, steps, halve_every)
        return optax.piecewise_constant_schedule(rate, dict.fromkeys(times, 0.5))
    if name == "inverse_sqrt":
        warmup = max(1, warmup)

        def at(step):
            step = jnp.asarray(step + 1, jnp.float32)  # the first update is number 1
            return rate * jnp.minimum(step / warmup, jnp.sqrt(warmup / step))

        return at
    raise ValueError(f"schedule {name!r} is not one of constant, cosine, halving, inverse_sqrt")
