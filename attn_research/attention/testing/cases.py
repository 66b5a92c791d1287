"""Conformance cases of attention: scores, masks, dtypes, sizes and modes.

A new mask is a line of `make_masks`: the conformance tests and the matrix of
`experiments.conformance` take masks from here, and scores and normalizers from `mechanisms`.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention import api
from attn_research.attention.array_masks import Around, Dense, GlobalTokens, Padding, Segments
from attn_research.attention.call import AttentionCall
from attn_research.attention.masks import Causal, Full, Mask, Window
from attn_research.attention.normalizers import Dropout, Gaussian
from attn_research.attention.patterns import prefix_lm, streaming
from attn_research.attention.positions import Positions
from attn_research.attention.random_blocks import RandomBlocks
from attn_research.attention.sparse_masks import BlockWindow, Dilated, Global, Strided
from attn_research.attention.testing.mechanisms import MECHANISMS, NORMALIZERS, SCORES
from attn_research.attention.varied_masks import ByHead
from attn_research.types import Array

Mode = Literal["train", "prefill", "step"]
MODES: tuple[Mode, ...] = "train", "prefill", "step"
DTYPES = "float32", "bfloat16", "float16"
Sizes = tuple[int, int, int, int, int, int, int]  # B T S N K H Hv
SIZES: Sizes = 2, 9, 17, 4, 2, 3, 6  # of the matrix


@dataclasses.dataclass(frozen=True)
class Case:
    """A case of conformance; "train" is the whole sequence, with its gradients.

    "prefill" is a prompt, all queries but the last, at positions that it names; "step" is the last
    query at its own, as of a decoder with a cache.
    """

    score: str = "scaled_dot"
    mask: str = "full"
    bias: str | None = None  # the axes of b n t s that it has; the others are 1
    dtype: str = "float32"
    sizes: Sizes = (2, 5, 7, 4, 2, 3, 6)
    dropout: float = 0.0
    gaussian: bool = False
    local: str | None = None  # a second mask, which must allow as well
    mode: Mode = "train"
    normalizer: str = "softmax"

    def __str__(self):
        changed = {k: v for k, v in dataclasses.asdict(self).items() if v != getattr(Case, k)}
        return ", ".join(f"{name} {value}" for name, value in changed.items())


@functools.cache
def make_masks(B: int, T: int, S: int, N: int = 1) -> dict[str, tuple[Mask, np.ndarray]]:
    """Masks by name, each with the rule that defines it, over indices of batch, query and key.

    The rule of a mask that differs by head is over batch, head, query and key.
    """
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
        "empty": (~Full(), b != b),
        "padded text": (Padding(jnp.asarray(np.arange(B) > 0)[:, None].repeat(S, 1)), b > 0),
        **_sparse_masks(right_padding, s < end[b], N),
    }


def _sparse_masks(padding: Padding, real: np.ndarray, N: int) -> dict[str, tuple[Mask, np.ndarray]]:
    """Masks of sparse attention, with padding of those sizes and its rule."""
    B, T, S = real.shape
    b, t, s = np.indices(real.shape)
    n, ahead = np.arange(N)[:, None, None], s - t
    near = np.abs(ahead) <= 1
    tokens = [np.random.default_rng(2).random((B, length)) < 0.3 for length in (T, S)]
    is_global = tokens[0][b, t] | tokens[1][b, s]
    gap = Dilated(1, 1, 2)
    # Its draws are held against its definition in test_sparse_masks.
    random = RandomBlocks(1, 2, S, num_heads=N)
    in_blocks = (np.abs(s // 2 - t // 2) <= 1) | (t < 2) | (s < 2)
    return {
        "dilated": (Dilated(2, 1, 2), (ahead % 2 == 0) & (ahead >= -4) & (ahead <= 2)),
        "strided": (Strided(3) & padding, (ahead % 3 == 0) & real),
        "block window": (BlockWindow(3, 1, 0), (s // 3 == t // 3) | (s // 3 == t // 3 - 1)),
        "global": (
            Window(1, 1) | Global(1, 3),
            near | ((t >= 1) & (t < 3)) | ((s >= 1) & (s < 3)),
        ),
        "prefix": (prefix_lm(3), (s <= t) | (s < 3)),
        "sinks": (streaming(2, 1) & padding, (s <= t) & ((s >= t - 1) | (s < 1)) & real),
        "global tokens": (
            (Window(1, 1) | GlobalTokens(*map(jnp.asarray, tokens))) & padding,
            (near | is_global) & real,
        ),
        "by head": (
            ByHead(tuple((Window(1, 1), gap)[head % 2] for head in range(N))) & padding,
            np.where(n % 2 == 0, near[:, None], np.isin(ahead, (-2, 0, 2))[:, None])
            & real[:, None],
        ),
        "random blocks": (
            (BlockWindow(2, 1, 1) | Global(0, 2) | random) & padding,
            (in_blocks[:, None] | np.asarray(random.dense(T, S))) & real[:, None],
        ),
    }


SECOND_MASKS = ("padded text",)  # those of `local` alone
MASKS = tuple(name for name in make_masks(1, 1, 1) if name not in SECOND_MASKS)
SPARSE_MASKS = tuple(_sparse_masks(Padding(np.ones((1, 1), bool)), np.ones((1, 1, 1), bool), 1))


def matrix_cases(
    mechanisms: Iterable[str] = MECHANISMS, mask_names: Iterable[str] = MASKS
) -> Iterator[tuple[str, Case]]:
    """The cases of every mechanism, mask, mode and dtype, each with its mechanism."""
    for name, mask, mode, dtype in itertools.product(mechanisms, mask_names, MODES, DTYPES):
        yield name, Case(mask=mask, dtype=dtype, sizes=SIZES, mode=mode, **MECHANISMS[name])


def random_arrays(
    rng: np.random.Generator, *shapes: tuple[int, ...], dtype: Any = "float32"
) -> tuple[Array, ...]:
    """Normal draws. NumPy does the rounding, for JAX would compile it for every shape."""
    return tuple(
        jnp.asarray(np.asarray(rng.standard_normal(shape)).astype(jnp.dtype(dtype)))
        for shape in shapes
    )


class CaseInputs(NamedTuple):
    """The inputs of a case: arrays by name, the call made of them, and the mask written out.

    That is [B, 1, T, S], or [B, N, T, S] where it differs by head.
    """

    arrays: dict[str, Array]
    call: Callable[[dict[str, Array]], AttentionCall]
    allowed: np.ndarray

    def unsupported(self, implementation: str) -> str | None:
        """The reason why an implementation refuses the case, in its own words, or None."""
        (found,) = (each for each in api.IMPLEMENTATIONS if each.name == implementation)
        return found.unsupported(self.call(self.arrays))


@functools.lru_cache(maxsize=4096)
def prepare(case: Case, capture: Literal["all"] | None = "all") -> CaseInputs:
    """The inputs of a case, drawn from a seed of its own."""
    _, T, S, *_ = case.sizes
    arrays = _draw(case)
    masks = make_masks(*case.sizes[:4])
    mask, allowed = masks[case.mask]
    allowed = allowed if allowed.ndim == 4 else allowed[:, None]
    if case.local:
        local, nearby = masks[case.local]
        mask, allowed = mask & local, allowed & nearby[:, None]

    positions = None
    if case.mode != "train":
        rows = np.arange(T - 1) if case.mode == "prefill" else np.array([T - 1])
        for name, axis in (("query", 1), ("bias", 2), ("center", 1)):
            if name in arrays and arrays[name].shape[axis] == T:
                arrays[name] = jnp.asarray(np.asarray(arrays[name]).take(rows, axis))
        mask, allowed = mask.of_queries(jnp.asarray(rows)), allowed[:, :, rows]
        positions = Positions(query=jnp.asarray(rows))
    dropout = Dropout(case.dropout, jax.random.key(1, impl="rbg")) if case.dropout else None

    normalizer = NORMALIZERS[case.normalizer].normalizer

    def call(arrays: dict[str, Array]) -> AttentionCall:
        return AttentionCall(
            arrays["query"],
            arrays["key"],
            arrays["value"],
            score=SCORES[case.score].make(arrays.get("parameter")),
            mask=mask,
            bias=arrays.get("bias"),
            normalizer=Gaussian(arrays["center"], S / 4, normalizer)
            if case.gaussian
            else normalizer,
            dropout=dropout,
            positions=positions,
            capture=capture,
        )

    return CaseInputs(arrays, call, allowed)


def _draw(case: Case) -> dict[str, Array]:
    """The arrays of a case whose queries are all there."""
    B, T, S, N, K, H, Hv = case.sizes
    score = SCORES[case.score]
    shapes = {"query": (B, T, N, H), "key": (B, S, K, H + score.wider_keys), "value": (B, S, K, Hv)}
    parameter_shape = score.parameter_shape(N, H, S)
    if parameter_shape is not None:
        shapes["parameter"] = parameter_shape
    if case.bias is not None:
        axes = zip("bnts", (B, N, T, S), strict=True)
        shapes["bias"] = tuple(size if letter in case.bias else 1 for letter, size in axes)
    if case.gaussian:
        shapes["center"] = B, T
    draws = random_arrays(np.random.default_rng(B * T + S), *shapes.values(), dtype=case.dtype)
    arrays = dict(zip(shapes, draws, strict=True))
    if case.gaussian:
        arrays["center"] = S / 2 + S / 4 * arrays["center"]
    if case.dropout:  # against a unit matrix of values the context is the weights after dropout
        unit = np.broadcast_to(np.eye(S, dtype=case.dtype)[:, None], shapes["value"])
        arrays["value"] = jnp.asarray(unit)
    return arrays
