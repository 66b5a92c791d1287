"""`attend` and `explain`: checks and dispatch, nothing else."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from attn_research.attention.backends import capabilities as operands
from attn_research.attention.backends import cudnn, reference, splash
from attn_research.attention.backends import local_gather as gathered
from attn_research.attention.backends.hopper import backend as hopper
from attn_research.attention.backends.pallas_gpu import backend as pallas
from attn_research.attention.backends.reference import Attended, Capture
from attn_research.attention.backends.xla_flash import backend as tiled
from attn_research.attention.masks import Full, Mask, Positions
from attn_research.attention.normalizers import Dropout, softmax
from attn_research.attention.scores import ScaledDot
from attn_research.types import Array, Float

Shaped = Array | jax.ShapeDtypeStruct


class Implementation(NamedTuple):
    """One way to compute `attend`; both functions take all its arguments but `implementation`.

    From shapes and structure, `unsupported` says why it cannot serve them, and `outdone` why one
    further down the chain does better where none is named; None where there is no such reason.
    """

    name: str
    unsupported: Callable[..., str | None]
    run: Callable[..., Attended]
    outdone: Callable[..., str | None] = lambda *arrays, **options: None
    cost: Callable[..., tuple[int, int]] | None = None  # FLOPs and bytes, where XLA cannot count


class Verdict(NamedTuple):
    """One row of `explain`; the costs are None where the implementation cannot serve the call."""

    name: str
    verdict: Literal["chosen", "rejected"]
    reason: str
    flops: int | None
    bytes: int | None


def _of_kernels(*arrays: Shaped, **options: Any) -> str | None:
    return tiled.outdone(*arrays, **options) or operands.on_many_devices(*arrays, **options)


# The chain, first choice first.
IMPLEMENTATIONS = (
    Implementation("cudnn", cudnn.unsupported, cudnn.attend, tiled.outdone, cudnn.cost),
    Implementation("hopper", hopper.unsupported, hopper.attend, _of_kernels, hopper.cost),
    Implementation("pallas", pallas.unsupported, pallas.attend, _of_kernels, pallas.cost),
    Implementation("splash", splash.unsupported, splash.attend, _of_kernels, splash.cost),
    Implementation("gathered", gathered.unsupported, gathered.attend, gathered.outdone),
    Implementation("tiled", tiled.unsupported, tiled.attend, tiled.outdone, tiled.cost),
    Implementation("reference", reference.unsupported, reference.attend),
)


def attend(
    query: Float[Array, "*B T N H"],
    key: Float[Array, "*B S K Hk"],
    value: Float[Array, "*B S K Hv"],
    *,
    score: Callable[..., Array] = ScaledDot(),
    mask: Mask = Full(),
    bias: Float[Array, "*#B #N #T #S"] | Callable[..., Array] | None = None,
    normalizer: Callable[..., Array] = softmax,
    dropout: Dropout | None = None,
    positions: Positions | None = None,
    implementation: str | None = None,
    capture: Literal["all"] | Capture | None = None,
) -> Attended:
    """Attention: context [*B, T, N, Hv] in the dtype of `value`, and weights where captured.

    Order: score, bias, mask, normalize, dropout, weigh; all but the context in float32 or wider.
    N is a multiple of K: query head n looks at key and value head n // (N // K). H is Hk, save for
    a score that maps one to the other. `bias` is an array, or a function of positions as a mask is.

    A row that may look nowhere gives weights 0, context 0 and gradient 0. A masked weight is
    exactly 0 whatever its score, but masked keys and values must be finite, since 0 · NaN is NaN.

    `implementation` None takes the first of the chain that supports the call; a name takes that one
    or raises NotImplementedError. `capture` asks for weights: "all", or a `Capture` of some. Raises
    ValueError where shapes, dtypes or names do not fit.
    """
    arrays = query, key, value
    options = dict(
        score=score,
        mask=mask,
        bias=bias,
        normalizer=normalizer,
        dropout=dropout,
        positions=positions,
        capture=capture,
    )
    reasons = _rejections(implementation, *arrays, **options)
    if None not in reasons:
        named = zip(IMPLEMENTATIONS, reasons, strict=True)
        lines = [f"{i.name}: {why}" for i, why in named if implementation in (None, i.name)]
        raise NotImplementedError("; ".join(lines))
    return IMPLEMENTATIONS[reasons.index(None)].run(*arrays, **options)


def explain(*args: Any, **kwargs: Any) -> tuple[Verdict, ...]:
    """What `attend` would do with the same arguments, or their shapes: a row per implementation.

    Arrays may be `jax.ShapeDtypeStruct`; nothing is computed or allocated. FLOPs and bytes are
    XLA's count of one forward pass before fusion, so the bytes, read and written, bound those of
    the compiled pass from above. Raises ValueError where `attend` would.
    """
    call = inspect.signature(attend).bind(*args, **kwargs)
    call.apply_defaults()
    options = call.arguments
    implementation = options.pop("implementation")
    arrays = options.pop("query"), options.pop("key"), options.pop("value")
    reasons = _rejections(implementation, *arrays, **options)
    chosen = "asked for" if implementation else "first that supports the call"
    rows = []
    for candidate, reason in zip(IMPLEMENTATIONS, reasons, strict=True):
        verdict = ("rejected", reason) if reason else ("chosen", chosen)
        unsupported = candidate.unsupported(*arrays, **options)
        cost = (None, None)
        if not unsupported:
            count = candidate.cost or functools.partial(_cost, candidate.run)
            cost = count(*arrays, **options)
        rows.append(Verdict(candidate.name, *verdict, *cost))
    return tuple(rows)


def _rejections(implementation: str | None, *arrays: Shaped, **options: Any) -> list[str | None]:
    """Why each implementation is not the one to run; None for the one that is, if there is one."""
    _check(*arrays, implementation=implementation, **options)
    reasons: list[str | None] = []
    for candidate in IMPLEMENTATIONS:
        if implementation not in (None, candidate.name):
            reasons.append(f"{implementation} was asked for")
        elif None in reasons:
            reasons.append(f"{IMPLEMENTATIONS[reasons.index(None)].name} comes first")
        else:
            reason = candidate.unsupported(*arrays, **options)
            if reason is None and implementation is None:
                reason = candidate.outdone(*arrays, **options)
            reasons.append(reason)
    return reasons


def _cost(
    run: Callable[..., Attended], *arrays: Shaped, capture: Any, **options: Any
) -> tuple[int, int]:
    # Everything but `capture` is a pytree of arrays, so all of it can be traced from shapes.
    lowered = jax.jit(functools.partial(run, capture=capture)).lower(*arrays, **options)
    cost = lowered.cost_analysis()
    return int(cost["flops"]), int(cost["bytes accessed"])


def _check(
    query: Shaped,
    key: Shaped,
    value: Shaped,
    *,
    mask: Any,
    bias: Any,
    positions: Positions | None,
    implementation: str | None,
    capture: Any,
    **others: Any,
) -> None:
    """Raises ValueError in one line that names what does not fit, and the way out."""
    names = [candidate.name for candidate in IMPLEMENTATIONS]
    if implementation not in (None, *names):
        raise ValueError(f"implementation {implementation!r} is not one of {', '.join(names)}")
    if not isinstance(mask, Mask):
        raise ValueError(
            f"mask is of type {type(mask).__name__}: give a Mask, such as Padding(valid) for "
            "booleans [*B, S] that are true where the key is real, or Segments(q_ids, k_ids)"
        )

    shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
    if not query.ndim == key.ndim == value.ndim >= 3:
        raise ValueError(f"{shapes}: give [*B, length, heads, width], the same *B in all")
    dtypes = query.dtype, key.dtype, value.dtype
    if not all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
        raise ValueError(f"query, key and value are {', '.join(map(str, dtypes))}: give floats")
    *batch, num_queries, num_heads, _ = query.shape
    *_, num_keys, num_kv_heads, _ = key.shape
    if not query.shape[:-3] == key.shape[:-3] == value.shape[:-3]:
        raise ValueError(f"{shapes}: the leading batch axes differ")
    if key.shape[:-1] != value.shape[:-1]:
        raise ValueError(f"{shapes}: key and value differ in length or heads")
    if num_heads % num_kv_heads:
        raise ValueError(
            f"{shapes}: {num_heads} query heads are not a multiple of {num_kv_heads} key heads"
        )

    positions = positions or Positions()
    positions.check(tuple(batch), num_queries, num_keys)
    mask.check(
        tuple(batch),
        num_queries if positions.query is None else None,
        num_keys if positions.key is None else None,
    )
    if bias is not None and not callable(bias):
        full = (*batch, num_heads, num_queries, num_keys)
        if not jnp.issubdtype(bias.dtype, jnp.floating):
            raise ValueError(
                f"bias is {bias.dtype}: it is added to the scores; a mask says who may look"
            )
        fits = all(size in (1, most) for size, most in zip(bias.shape, full, strict=False))
        if bias.ndim != len(full) or not fits:
            raise ValueError(f"bias has shape {bias.shape}: give {full}, with 1 where it is shared")
    if isinstance(capture, Capture):
        for name, chosen, size in (
            ("heads", capture.heads, num_heads),
            ("rows", capture.rows, num_queries),
        ):
            if not all(0 <= index < size for index in chosen):
                raise ValueError(f"Capture({name}={chosen}): there are {size}, counted from 0")
    elif capture not in (None, "all"):
        raise ValueError(f'capture {capture!r} is not None, "all" or a Capture(heads, rows)')
