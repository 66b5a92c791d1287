"""Deliberately wrong implementations, which the conformance comparison must detect."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Attended, Causal, Dot, Positions, Window, api, softmax
from attn_research.attention.backends import local_gather, reference
from attn_research.attention.backends.pallas_gpu import backend as pallas_gpu
from attn_research.attention.testing.cases import SIZES, Case
from attn_research.attention.testing.comparison import compare
from attn_research.attention.testing.interpret import interpret_kernels
from attn_research.trees import pytree

DROPOUT = Case("additive", "window", "bs", sizes=(2, 5, 7, 4, 2, 3, 7), dropout=0.4)
GAUSSIAN = Case("dot", "around", sizes=SIZES, gaussian=True)


def named_wrong(run, monkeypatch):
    wrong = api.Implementation("wrong", reference.unsupported, run)
    monkeypatch.setattr(api, "IMPLEMENTATIONS", (*api.IMPLEMENTATIONS, wrong))


def fill_with_lowest(scores, allowed, k_pos):
    return jax.nn.softmax(jnp.where(allowed, scores, jnp.finfo(scores.dtype).min))


def half_softmax(scores, allowed, k_pos):
    return jax.nn.softmax(scores.astype(jnp.bfloat16), where=allowed).astype(scores.dtype)


def off_by_one(call):
    positions = Positions(query=jnp.arange(call.query.shape[1]) - 1)
    return reference.attend(call.replace(positions=positions))


def other_grouping(call):
    out = reference.attend(call.replace(query=call.query[:, :, ::-1]))
    return out._replace(context=out.context[:, :, ::-1], weights=out.weights[:, ::-1])


def late_dropout(call):
    context, weights = reference.attend(call.replace(dropout=None))
    return Attended(call.dropout(context), weights)


def renormalized(scores, allowed, k_pos, *, gaussian):
    weights = gaussian(scores, allowed, k_pos)
    return weights / jnp.maximum(weights.sum(-1, keepdims=True), 1e-30)


@pytree
@dataclasses.dataclass(frozen=True)
class Late(Window):
    """A window whose span begins too late: its first key is never gathered."""

    def span(self, q_pos):
        start, width = super().span(q_pos)
        return start + 1, width


@pytree
@dataclasses.dataclass(frozen=True)
class Hasty(Causal):
    """Causal, but takes what it leaves in part for all of a tile."""

    def layout(self, num_queries, num_keys, block):
        return 2 * np.minimum(super().layout(num_queries, num_keys, block), 1)


def unclipped(call):
    """Gathers past the end as if the keys began anew there."""
    key, value = (jnp.concatenate([each, each], axis=1) for each in (call.key, call.value))
    out = local_gather.attend(call.replace(key=key, value=value))
    return out._replace(weights=out.weights[..., : call.key.shape[1]])


def replacing(change, attend=reference.attend):
    """The reference, or another implementation, with some fields of the call changed."""
    return lambda call: attend(call.replace(**change(call)))


WRONG = {
    "mean in empty rows": (
        replacing(lambda call: {"normalizer": fill_with_lowest}),
        Case(mask="causal & left padding"),
    ),
    "window off by one": (off_by_one, Case(mask="window")),
    "causal off by one": (off_by_one, Case(mask="causal")),
    "mask turned round": (replacing(lambda call: {"mask": ~call.mask}), Case(mask="causal")),
    "padding forgotten": (
        replacing(lambda call: {"mask": call.mask.a}),
        Case(mask="causal & left padding"),
    ),
    "bias forgotten": (replacing(lambda call: {"bias": None}), Case(bias="bs")),
    "bias without gradient": (
        replacing(lambda call: {"bias": jax.lax.stop_gradient(call.bias)}),
        Case(bias="bs"),
    ),
    "scale forgotten": (replacing(lambda call: {"score": Dot()}), Case()),
    "parameter without gradient": (
        replacing(lambda call: {"score": jax.lax.stop_gradient(call.score)}),
        Case(score="additive"),
    ),
    "other grouping of heads": (other_grouping, Case()),
    "dropout forgotten": (replacing(lambda call: {"dropout": None}), DROPOUT),
    "dropout of the context": (late_dropout, DROPOUT),
    "softmax in half precision": (replacing(lambda call: {"normalizer": half_softmax}), Case()),
    "Gaussian forgotten": (replacing(lambda call: {"normalizer": softmax}), GAUSSIAN),
    "Gaussian normalized again": (
        replacing(
            lambda call: {"normalizer": functools.partial(renormalized, gaussian=call.normalizer)}
        ),
        GAUSSIAN,
    ),
    "Gaussian without gradient": (
        replacing(lambda call: {"normalizer": jax.lax.stop_gradient(call.normalizer)}),
        GAUSSIAN,
    ),
    "gathered one late": (
        replacing(lambda call: {"mask": Late(2, 1)}, local_gather.attend),
        Case("dot", "window", sizes=SIZES),
    ),
    "gathered past the end": (unclipped, Case("dot", "window", sizes=(2, 40, 9, 3, 1, 4, 5))),
    "kernels that take tiles for full": (
        replacing(lambda call: {"mask": Hasty()}, pallas_gpu.attend),
        Case("dot", "causal", sizes=(2, 20, 64, 4, 2, 3, 6)),  # a whole tile of keys
    ),
    "context in float32": (
        replacing(lambda call: {"value": call.value.astype(jnp.float32)}),
        Case(dtype="bfloat16"),
    ),
}


def wrong_in(implementation, case):
    # A new shape compiles faster as a whole.
    transform = jax.jit if case.sizes != Case.sizes else lambda function: function
    return compare(implementation, case, transform).wrong()


of_reference = functools.cache(functools.partial(wrong_in, "reference"))


@pytest.mark.parametrize("name", WRONG)
def test_comparison_detects_a_wrong_implementation(name, monkeypatch):
    run, case = WRONG[name]
    interpret_kernels(monkeypatch.setattr)
    named_wrong(run, monkeypatch)
    assert not of_reference(case)
    assert wrong_in("wrong", case)
