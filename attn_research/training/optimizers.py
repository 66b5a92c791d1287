"""Optimizers by name, with global-norm clipping, and learning-rate schedules."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, muon

from attn_research.types import PyTree


def _name(path) -> str:
    return jax.tree_util.keystr(path[-1:], simple=True)


def _matrices(params: PyTree) -> PyTree:
    def is_matrix(path, leaf) -> bool:
        return _name(path) in ("kernel", "embedding")

    return jax.tree_util.tree_map_with_path(is_matrix, params)


def _as_matrices(params: PyTree) -> PyTree:
    """The input and output axes of every kernel; axes before them are those of stacked layers."""

    def axes(path, leaf):
        if _name(path) != "kernel":
            return None
        last = leaf.ndim - 1
        convolution = leaf.ndim == 4  # [height, width, in, out]
        return MuonDimensionNumbers((0, 1, 2) if convolution else last - 1, last)

    return jax.tree_util.tree_map_with_path(axes, params)


def _muon(rate, weight_decay=0.0, mask=None):
    del mask  # parameters that are no kernels have Adam, without decay
    return muon(
        rate,
        weight_decay=weight_decay,
        muon_weight_dimension_numbers=_as_matrices,
        consistent_rms=0.2,
    )


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    # Zeiler 2012, with the constants of Bahdanau et al. 2014, appendix B.2; its rate is 1.
    "adadelta": lambda rate: optax.adadelta(rate, rho=0.95, eps=1e-6),
    "adam": optax.adam,
    "adamw": functools.partial(optax.adamw, weight_decay=0.0),
    # For batches of few tokens, whose second moments are to forget soon: nanoGPT's.
    "adamw_99": functools.partial(optax.adamw, b2=0.99, weight_decay=0.0),
    # Vaswani et al. 2017, section 5.3.
    "adam_2017": lambda rate: optax.adam(rate, b1=0.9, b2=0.98, eps=1e-9),
    # Jordan et al. 2024: orthogonalized momentum for kernels, Adam for the rest. Updates are as
    # large as Adam's (Liu et al. 2025), so that both have the same learning rate.
    "muon": _muon,
    "sgd": optax.sgd,
}
DECAYING = ("adamw", "adamw_99", "muon")  # those that take a weight decay


def make_optimizer(
    name: str,
    learning_rate: float | optax.Schedule,
    clip_norm: float,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """The optimizer of a name, with clipping of the gradient's global L2 norm to `clip_norm`.

    `weight_decay` is for those of `DECAYING`, and applies to kernels and, but for "muon", to
    embeddings: biases, gains, positions and low-rank updates do not decay.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer {name!r} is not one of {', '.join(OPTIMIZERS)}")
    make = OPTIMIZERS[name]
    if weight_decay:
        if name not in DECAYING:
            raise ValueError(
                f"weight decay {weight_decay} is for {', '.join(DECAYING)}, not for {name}"
            )
        make = functools.partial(make, weight_decay=weight_decay, mask=_matrices)
    return optax.chain(optax.clip_by_global_norm(clip_norm), make(learning_rate))


def by_path(
    optimizers: Mapping[str, optax.GradientTransformation], label: Callable[[str], str]
) -> optax.GradientTransformation:
    """Optimizers of parts of the parameters, by the label of a path, its keys joined by "/"."""

    def labels(params: PyTree) -> PyTree:
        def of(path, _) -> str:
            return label(jax.tree_util.keystr(path, simple=True, separator="/"))

        return jax.tree_util.tree_map_with_path(of, params)

    return optax.partition(optimizers, labels)


def make_schedule(
    name: str,
    rate: float,
    steps: int,
    *,
    warmup: int = 0,
    end: float = 0.01,
    halve_after: int = 0,
    halve_every: int = 1,
) -> optax.Schedule:
    """The learning-rate schedule of a name over `steps` updates.

    "constant"; "cosine", linear warmup from 0 over `warmup`, then cosine decay to rate · `end`;
    "halving", which halves after `halve_after` and every `halve_every` from there (Luong, Pham,
    Manning 2015, section 4.1); or "inverse_sqrt", linear warmup, then decay by the inverse square
    root of the step (Vaswani et al. 2017, equation 3, whose rate is (d_model · warmup)^-½).
    """
    if name == "constant":
        return optax.constant_schedule(rate)
    if name == "cosine":
        steps = max(steps, warmup + 1)
        return optax.warmup_cosine_decay_schedule(0.0, rate, warmup, steps, rate * end)
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
