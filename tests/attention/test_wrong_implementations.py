"""An implementation that is wrong on purpose turns the tests and the matrix red."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Causal, Dot, Positions, Window, api, softmax
from attn_research.attention.backends import local_gather as gathered
from attn_research.attention.backends import reference
from attn_research.attention.backends.pallas_gpu import backend as pallas
from attn_research.attention.testing.cases import Case
from attn_research.attention.testing.comparison import examine
from attn_research.trees import pytree
from experiments.conformance import matrix as conformance
from experiments.conformance.matrix import SIZES

DROPOUT = Case("additive", "window", "bs", sizes=(2, 5, 7, 4, 2, 3, 7), dropout=0.4)
GAUSSIAN = Case("dot", "around", sizes=SIZES, gaussian=True)


def named_wrong(run, monkeypatch):
    wrong = api.Implementation("wrong", reference.unsupported, run)
    monkeypatch.setattr(api, "IMPLEMENTATIONS", (*api.IMPLEMENTATIONS, wrong))


def fill_with_lowest(scores, allowed, k_pos):
    return jax.nn.softmax(jnp.where(allowed, scores, jnp.finfo(scores.dtype).min))


def half_softmax(scores, allowed, k_pos):
    return jax.nn.softmax(scores.astype(jnp.bfloat16), where=allowed).astype(scores.dtype)


def off_by_one(query, *arrays, **options):
    options["positions"] = Positions(query=jnp.arange(query.shape[1]) - 1)
    return reference.attend(query, *arrays, **options)


def other_grouping(query, key, value, **options):
    out = reference.attend(query[:, :, ::-1], key, value, **options)
    return out._replace(context=out.context[:, :, ::-1], weights=out.weights[:, ::-1])


def late_dropout(*arrays, dropout, **options):
    context, weights = reference.attend(*arrays, dropout=None, **options)
    return reference.Attended(dropout(context), weights)


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


def unclipped(query, key, value, **options):
    """Gathers past the end as if the keys began anew there."""
    twice = (jnp.concatenate([array, array], axis=1) for array in (key, value))
    out = gathered.attend(query, *twice, **options)
    return out._replace(weights=out.weights[..., : key.shape[1]])


def replacing(change, attend=reference.attend):
    """The reference, or another, with some of its options changed."""
    return lambda *arrays, **options: attend(*arrays, **(options | change(options)))


WRONG = {
    "mean in empty rows": (
        replacing(lambda o: {"normalizer": fill_with_lowest}),
        Case(mask="causal & left padding"),
    ),
    "window off by one": (off_by_one, Case(mask="window")),
    "causal off by one": (off_by_one, Case(mask="causal")),
    "mask turned round": (replacing(lambda o: {"mask": ~o["mask"]}), Case(mask="causal")),
    "padding forgotten": (
        replacing(lambda o: {"mask": o["mask"].a}),
        Case(mask="causal & left padding"),
    ),
    "bias forgotten": (replacing(lambda o: {"bias": None}), Case(bias="bs")),
    "bias without gradient": (
        replacing(lambda o: {"bias": jax.lax.stop_gradient(o["bias"])}),
        Case(bias="bs"),
    ),
    "scale forgotten": (replacing(lambda o: {"score": Dot()}), Case()),
    "parameter without gradient": (
        replacing(lambda o: {"score": jax.lax.stop_gradient(o["score"])}),
        Case(score="additive"),
    ),
    "other grouping of heads": (other_grouping, Case()),
    "dropout forgotten": (replacing(lambda o: {"dropout": None}), DROPOUT),
    "dropout of the context": (late_dropout, DROPOUT),
    "softmax in half precision": (replacing(lambda o: {"normalizer": half_softmax}), Case()),
    "Gaussian forgotten": (replacing(lambda o: {"normalizer": softmax}), GAUSSIAN),
    "Gaussian normalized again": (
        replacing(
            lambda o: {"normalizer": functools.partial(renormalized, gaussian=o["normalizer"])}
        ),
        GAUSSIAN,
    ),
    "Gaussian without gradient": (
        replacing(lambda o: {"normalizer": jax.lax.stop_gradient(o["normalizer"])}),
        GAUSSIAN,
    ),
    "gathered one late": (
        replacing(lambda o: {"mask": Late(2, 1)}, gathered.attend),
        Case("dot", "window", sizes=SIZES),
    ),
    "gathered past the end": (unclipped, Case("dot", "window", sizes=(2, 40, 9, 3, 1, 4, 5))),
    "kernels that take tiles for full": (
        replacing(lambda o: {"mask": Hasty()}, pallas.attend),
        Case("dot", "causal", sizes=(2, 20, 64, 4, 2, 3, 6)),  # a whole tile of keys
    ),
    "context in float32": (
        lambda q, k, v, **options: reference.attend(q, k, v.astype(jnp.float32), **options),
        Case(dtype="bfloat16"),
    ),
}


def wrong_in(implementation, case):
    # A new shape compiles faster as a whole.
    transform = jax.jit if case.sizes != Case.sizes else lambda function: function
    return examine(implementation, case, transform).wrong()


of_reference = functools.cache(functools.partial(wrong_in, "reference"))


@pytest.mark.parametrize("name", WRONG)
def test_it_is_found_out(name, monkeypatch):
    run, case = WRONG[name]
    conformance.interpret_kernels(monkeypatch.setattr)
    named_wrong(run, monkeypatch)
    assert not of_reference(case)
    assert wrong_in("wrong", case)


def test_it_turns_the_matrix_red(monkeypatch, tmp_path):
    run, case = WRONG["causal off by one"]
    named_wrong(run, monkeypatch)
    names = ["reference", "wrong"]
    lines = conformance.run(names, ["dot"], [case.mask], samples=0, output=str(tmp_path))
    assert {line.split(",")[0] for line in lines} == {"wrong"}
    page = (tmp_path / "conformance.md").read_text()
    assert "**9 pass, 0 are refused, 9 are wrong**" in page
    assert all(line in page for line in lines)
