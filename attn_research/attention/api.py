"""`attend` and `explain`: dispatch of a call to the first implementation that supports it."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax

from attn_research.attention.backends import cudnn, divided, local_gather, reference, splash
from attn_research.attention.backends.hopper import backend as hopper
from attn_research.attention.backends.pallas_gpu import backend as pallas_gpu
from attn_research.attention.backends.xla_flash import backend as xla_flash
from attn_research.attention.by_head import attend_by_head, checked_by_head, cost_by_head
from attn_research.attention.call import Attended, AttentionCall, Capture, empty
from attn_research.attention.masks import Full, Mask
from attn_research.attention.meshes import run_on_mesh
from attn_research.attention.normalizers import Dropout, softmax
from attn_research.attention.positions import Positions
from attn_research.attention.scores import ScaledDot
from attn_research.derivatives import first_order_only, part_floats
from attn_research.types import Array, Float


class Implementation(NamedTuple):
    """One way to compute `attend`.

    From shapes and structure alone, `unsupported` gives the reason why it cannot serve a call, and
    `not_preferred` the reason to prefer a later one of the chain where none is named; None where
    there is no such reason.
    """

    name: str
    unsupported: Callable[[AttentionCall], str | None]
    run: Callable[[AttentionCall], Attended]
    not_preferred: Callable[[AttentionCall], str | None] = lambda call: None
    # FLOPs and bytes, where XLA cannot count them.
    cost: Callable[[AttentionCall], tuple[int, int]] | None = None
    # What it chooses by the processor, for `explain`.
    choices: Callable[[AttentionCall], str] | None = None


class Verdict(NamedTuple):
    """One row of `explain`; the costs are None where the implementation cannot serve the call."""

    name: str
    verdict: Literal["chosen", "rejected"]
    reason: str
    flops: int | None
    bytes: int | None


def _kernels(name: str, module: Any) -> Implementation:
    """An implementation by kernels, which have a backward pass and no derivatives of it."""

    def run(call: AttentionCall) -> Attended:
        function, arrays = call.split(attend_by_head(module.attend))
        floats, others, merge = part_floats(arrays)

        def of_floats(floats: list, others: list) -> Attended:
            return function(merge(floats, others))

        refusal = f"{name} has gradients alone: name tiled for other derivatives"
        return first_order_only(of_floats, refusal)(floats, others)

    return _by_head(name, module, run)


def _by_head(name: str, module: Any, run: Callable[[AttentionCall], Attended]) -> Implementation:
    """An implementation that takes heads as a batch axis where the mask differs by them."""
    cost, choices = (getattr(module, each, None) for each in ("cost", "choices"))
    return Implementation(
        name,
        checked_by_head(module.unsupported),
        run,
        checked_by_head(module.not_preferred),
        cost and cost_by_head(cost),
        choices and checked_by_head(choices),
    )


# The chain, first choice first.
IMPLEMENTATIONS = (
    Implementation("ring", divided.unsupported, divided.attend),
    _kernels("cudnn", cudnn),
    _kernels("hopper", hopper),
    _kernels("pallas", pallas_gpu),
    _kernels("splash", splash),
    _by_head("gathered", local_gather, attend_by_head(local_gather.attend, wide=True)),
    _by_head("tiled", xla_flash, attend_by_head(xla_flash.attend, wide=True)),
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
    """Attention: the context [*B, T, N, Hv] in the dtype of `value`, and weights where captured.

        import jax
        from attn_research.attention import Causal, Padding, attend

        x = jax.random.normal(jax.random.key(0), (2, 5, 4, 8))  # [B, T, N, H]
        valid = jax.numpy.arange(5) < jax.numpy.array([[5], [3]])  # [B, S]: real keys
        context, weights = attend(x, x, x, mask=Causal() & Padding(valid), capture="all")

    score            Dot, ScaledDot, General, Additive, Location, ...: all of `attention.scores`
    mask             Full, Causal, Window, Padding, Segments, ...: all of `attention.masks`,
                     `array_masks`, `sparse_masks`, and ByHead, ByLayer and RandomBlocks, joined by
                     `& | ~`; `patterns` has those of Longformer, BigBird and others
    bias             an array that broadcasts to the scores, or a function of positions as masks are
    normalizer       softmax, Gaussian, sparsemax, entmax15, Sigmoid, TopK: all of
                     `attention.normalizers` and `sparse_normalizers`
    dropout          Dropout(rate, key), of the weights
    positions        Positions(query, key); None counts both from 0
    implementation   ring, cudnn, hopper, pallas, splash, gathered, tiled, reference; None takes the
                     first of those that supports the call, a name takes that one or raises
                     NotImplementedError; `explain` gives the reasons. Ring is of programs that a
                     mesh axis "sequence" divides, where None takes no other
    capture          "all" weights, or the Capture(heads, rows) of some

    Order: score, bias, mask, normalize, dropout, weigh; all but the context in float32 or wider.
    N is a multiple of K: query head n attends to key and value head n // (N // K). H is Hk, save
    for a score that maps one to the other.

    A decode step attends from new queries to a cache of keys and values: give the queries the
    positions they have in the sequence, `positions=Positions(query=step + jnp.arange(T))`, and a
    mask, such as Causal, that leaves out the slots not written yet. Slots hold positions 0, 1, ...,
    unless `Positions(key=...)` says which.

    A query that may attend to no key, as where there are none, gives weights 0, context 0 and
    gradient 0. A masked weight is exactly 0 whatever its score, but masked keys and values must be
    finite, since 0 · NaN is NaN. Raises ValueError where shapes, dtypes or names do not fit.
    """
    call = AttentionCall(
        query,
        key,
        value,
        score=score,
        mask=mask,
        bias=bias,
        normalizer=normalizer,
        dropout=dropout,
        positions=positions,
        capture=capture,
    )
    implementation = implementation or _by_mesh()
    call, reasons = _rejections(implementation, call)
    if None not in reasons:
        named = zip(IMPLEMENTATIONS, reasons, strict=True)
        lines = [f"{i.name}: {why}" for i, why in named if implementation in (None, i.name)]
        raise NotImplementedError("; ".join(lines))
    if call.is_empty:
        return empty(call)
    return run_on_mesh(IMPLEMENTATIONS[reasons.index(None)].run, call)


def explain(*args: Any, **kwargs: Any) -> tuple[Verdict, ...]:
    """The choice of `attend` for the same arguments, or their shapes: a row per implementation.

    Arrays may be `jax.ShapeDtypeStruct`; nothing is computed or allocated. FLOPs and bytes are
    XLA's count of one forward pass before fusion, so the bytes, read and written, bound those of
    the compiled pass from above. Raises ValueError where `attend` would.
    """
    bound = inspect.signature(attend).bind(*args, **kwargs)
    bound.apply_defaults()
    implementation = bound.arguments.pop("implementation") or _by_mesh()
    call = AttentionCall(**bound.arguments)
    call, reasons = _rejections(implementation, call)
    chosen = "requested" if implementation else "first that supports the call"
    rows = []
    for candidate, reason in zip(IMPLEMENTATIONS, reasons, strict=True):
        verdict = ("rejected", reason) if reason else ("chosen", chosen)
        if not reason and candidate.choices and not call.is_empty:
            verdict = "chosen", f"{chosen}; {candidate.choices(call)}"
        cost = (None, None)
        if call.is_empty:
            cost = (0, 0)
        elif not candidate.unsupported(call):
            cost = (candidate.cost or functools.partial(_cost, candidate.run))(call)
        rows.append(Verdict(candidate.name, *verdict, *cost))
    return tuple(rows)


def _by_mesh() -> str | None:
    """The implementation that a mesh asks for: any other gathers a sequence on every device."""
    return "ring" if divided.num_parts() > 1 else None


def _rejections(
    implementation: str | None, call: AttentionCall
) -> tuple[AttentionCall, list[str | None]]:
    """The checked call, and the reason against each implementation; None for the one to run."""
    names = [candidate.name for candidate in IMPLEMENTATIONS]
    if implementation not in (None, *names):
        raise ValueError(f"implementation {implementation!r} is not one of {', '.join(names)}")
    call = call.checked()
    reasons: list[str | None] = []
    for candidate in IMPLEMENTATIONS:
        if implementation not in (None, candidate.name):
            reasons.append(f"{implementation} was requested")
        elif None in reasons:
            reasons.append(f"{IMPLEMENTATIONS[reasons.index(None)].name} comes first")
        else:
            reason = candidate.unsupported(call)
            if reason is None and implementation is None:
                reason = candidate.not_preferred(call)
            reasons.append(reason)
    return call, reasons


def _cost(run: Callable[[AttentionCall], Attended], call: AttentionCall) -> tuple[int, int]:
    """FLOPs and bytes of a call as XLA counts them."""
    function, arrays = call.split(run)
    cost = jax.jit(function).lower(arrays).cost_analysis()
    return int(cost["flops"]), int(cost["bytes accessed"])
