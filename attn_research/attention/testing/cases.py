"""What every implementation of attention is asked: scores, masks, dtypes, sizes and modes.

A new score is a row of `SCORES`, a new mask a row of `make_masks`: the conformance tests and the
matrix of `experiments.conformance` take both from here.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention import (
    Additive,
    Around,
    Causal,
    Dense,
    Dot,
    Dropout,
    Full,
    Gaussian,
    General,
    Location,
    Mask,
    Padding,
    Positions,
    ScaledDot,
    Segments,
    Window,
    api,
    softmax,
)
from attn_research.attention.call import AttentionCall
from attn_research.attention.testing import oracle
from attn_research.types import Array

Mode = Literal["train", "prefill", "step"]
MODES: tuple[Mode, ...] = "train", "prefill", "step"
DTYPES = "float32", "bfloat16", "float16"


@dataclasses.dataclass(frozen=True)
class Case:
    """What is asked of an implementation; "train" is the whole sequence, with its gradients.

    "prefill" is a prompt, all queries but the last, at positions that it names; "step" is the last
    query at its own, as of a decoder with a cache.
    """

    score: str = "scaled_dot"
    mask: str = "full"
    bias: str | None = None  # which of the axes b n t s it has; the others are 1
    dtype: str = "float32"
    sizes: tuple[int, ...] = (2, 5, 7, 4, 2, 3, 6)  # B T S N K H Hv
    dropout: float = 0.0
    gaussian: bool = False
    local: str | None = None  # a second mask, which must allow as well
    mode: Mode = "train"

    def __str__(self):
        changed = {k: v for k, v in dataclasses.asdict(self).items() if v != getattr(Case, k)}
        return ", ".join(f"{name} {value}" for name, value in changed.items())


class Score(NamedTuple):
    """Its function in the oracle, how it is made of its parameter, and the parameter's shape."""

    exact: Callable[..., Any]
    make: Callable[[Any], Callable[..., Array]]
    shape: Callable[[int, int, int], tuple[int, ...]] | None = None  # of N, H and S; Hk is H + 1


SCORES = {
    "dot": Score(oracle.dot, lambda _: Dot()),
    "scaled_dot": Score(oracle.scaled_dot, lambda _: ScaledDot()),
    "general": Score(oracle.general, General, lambda n, h, s: (h, h + 1)),
    "general_per_head": Score(oracle.general, General, lambda n, h, s: (n, h, h + 1)),
    "additive": Score(oracle.additive, Additive, lambda n, h, s: (h,)),
    "additive_per_head": Score(oracle.additive, Additive, lambda n, h, s: (n, h)),
    "location": Score(oracle.location, Location, lambda n, h, s: (h, s + 2)),
    "location_per_head": Score(oracle.location, Location, lambda n, h, s: (n, h, s - 2)),
}


@functools.cache
def make_masks(B: int, T: int, S: int) -> dict[str, tuple[Mask, np.ndarray]]:
    """Masks by name, each with who may look by a rule over the indices of batch, query and key."""
    b, t, s = np.indices((B, T, S))
    begin, end = 2 + np.arange(B), S - 1 - np.arange(B)  # batch mates differ
    q_ids, k_ids = (
        np.arange(T) * 3 // T + np.arange(B)[:, None],
        np.tile(np.arange(S) * 3 // S, (B, 1)),
    )
    left_padding = Padding(jnp.asarray(np.arange(S) >= begin[:, None]))
    right_padding = Padding(jnp.asarray(np.arange(S) < end[:, None]))
    center = ((5 * t + 3 * b + 0.5) % (S + 2) - 1).astype(np.float32)[..., 0]  # some are outside
    matrix = np.random.default_rng(1).random((B, T, S)) < 0.6
    segments, same = Segments(jnp.asarray(q_ids), jnp.asarray(k_ids)), q_ids[b, t] == k_ids[b, s]
    return {
        "full": (Full(), b == b),
        "causal": (Causal(), s <= t),
        "window": (Window(2, 1), (t - 2 <= s) & (s <= t + 1)),
        "around": (Around(jnp.asarray(center), 2), np.abs(s - center[b, t]) <= 2),
        "padding": (right_padding, s < end[b]),
        "segments": (segments, same),
        "causal & left padding": (Causal() & left_padding, (s <= t) & (s >= begin[b])),
        "causal & padding & window": (
            Causal() & right_padding & Window(3, 0),
            (t - 3 <= s) & (s <= t) & (s < end[b]),
        ),
        "future of the segment": (~Causal() & segments, (s > t) & same),
        "window or padding": (Window(1, 0) | right_padding, (s == t) | (s == t - 1) | (s < end[b])),
        "dense": (Dense(jnp.asarray(matrix)), matrix),
        "nowhere": (~Full(), b != b),
    }


MASKS = tuple(make_masks(1, 1, 1))


def random_arrays(
    rng: np.random.Generator, *shapes: tuple[int, ...], dtype: Any = "float32"
) -> tuple[Array, ...]:
    """Normal draws. NumPy does the rounding, for JAX would compile it for every shape."""
    return tuple(jnp.asarray(rng.standard_normal(s).astype(jnp.dtype(dtype))) for s in shapes)


class Asked(NamedTuple):
    """A case as arrays by name, the options of `attend` made of them, and who may look."""

    arrays: dict[str, Array]
    options: Callable[[dict[str, Array]], dict[str, Any]]
    allowed: np.ndarray

    def unsupported(self, implementation: str) -> str | None:
        """Why that implementation refuses it, in its own words, or None."""
        (found,) = (each for each in api.IMPLEMENTATIONS if each.name == implementation)
        operands = (self.arrays[name] for name in ("query", "key", "value"))
        return found.unsupported(AttentionCall(*operands, **self.options(self.arrays)))


def pose(case: Case, capture: Literal["all"] | None = "all") -> Asked:
    """The arrays of a case, drawn, and what to ask of them."""
    B, T, S, N, K, H, Hv = case.sizes
    score = SCORES[case.score]
    rng = np.random.default_rng(B * T + S)
    Hk = H + 1 if score.exact is oracle.general else H
    shapes = {"query": (B, T, N, H), "key": (B, S, K, Hk), "value": (B, S, K, Hv)}
    if score.shape:
        shapes["parameter"] = score.shape(N, H, S)
    if case.bias is not None:
        axes = zip("bnts", (B, N, T, S), strict=True)
        shapes["bias"] = tuple(size if letter in case.bias else 1 for letter, size in axes)
    if case.gaussian:
        shapes["center"] = B, T
    draws = random_arrays(rng, *shapes.values(), dtype=case.dtype)
    arrays = dict(zip(shapes, draws, strict=True))
    if case.gaussian:
        arrays["center"] = S / 2 + S / 4 * arrays["center"]
    if case.dropout:  # against a unit matrix of values the context is the weights after dropout
        unit = np.broadcast_to(np.eye(S, dtype=case.dtype)[:, None], shapes["value"])
        arrays["value"] = jnp.asarray(unit)
    masks = make_masks(B, T, S)
    mask, allowed = masks[case.mask]
    if case.local:
        local, nearby = masks[case.local]
        mask, allowed = mask & local, allowed & nearby

    positions = None
    if case.mode != "train":
        rows = np.arange(T - 1) if case.mode == "prefill" else np.array([T - 1])
        for name, axis in (("query", 1), ("bias", 2), ("center", 1)):
            if name in arrays and arrays[name].shape[axis] == T:
                arrays[name] = jnp.asarray(np.asarray(arrays[name]).take(rows, axis))
        mask, allowed = mask.of_queries(jnp.asarray(rows)), allowed[:, rows]
        positions = Positions(query=jnp.asarray(rows))
    dropout = Dropout(case.dropout, jax.random.key(1, impl="rbg")) if case.dropout else None

    def options(arrays: dict[str, Array]) -> dict[str, Any]:
        return dict(
            score=score.make(arrays.get("parameter")),
            mask=mask,
            bias=arrays.get("bias"),
            normalizer=Gaussian(arrays["center"], S / 4) if case.gaussian else softmax,
            dropout=dropout,
            positions=positions,
            capture=capture,
        )

    return Asked(arrays, options, allowed)
