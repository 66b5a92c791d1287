"""The chain of implementations: the choice of `attend`, and the rows of `explain`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Causal, Dropout, Full, Padding, api, attend, explain
from attn_research.attention.backends import reference
from attn_research.attention.backends.pallas_gpu import backend as pallas_gpu
from tests.attention.inputs import random_arrays

B, T, S, N, K, H, Hv = 2, 5, 7, 4, 2, 3, 6


ARRAYS = random_arrays((B, T, N, H), (B, S, K, H), (B, S, K, Hv))


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


SHAPES = shape(B, T, N, H), shape(B, S, K, H), shape(B, S, K, Hv)


def only_causal(call):
    return None if call.mask == Causal() else "only the causal mask"


@pytest.fixture
def chain(monkeypatch):
    """A chain of a first choice that serves causal masks alone, and the reference."""

    def run(call):
        out = reference.attend(call)
        return out._replace(context=0 * out.context)

    first = api.Implementation("first", only_causal, run)
    monkeypatch.setattr(api, "IMPLEMENTATIONS", (first, api.IMPLEMENTATIONS[-1]))


def test_the_first_implementation_that_supports_a_call_is_used(chain):
    def by_first(**options):
        return not np.asarray(attend(*ARRAYS, **options).context).any()

    assert by_first(mask=Causal())
    assert not by_first(mask=Full())
    assert not by_first(mask=Causal(), implementation="reference")
    with pytest.raises(NotImplementedError, match=r"^first: only the causal mask$"):
        attend(*ARRAYS, mask=Full(), implementation="first")


def test_explain_gives_the_chosen_implementation_and_reasons(chain):
    def rows(**options):
        return [(row.name, row.verdict, row.reason) for row in explain(*SHAPES, **options)]

    assert rows(mask=Causal()) == [
        ("first", "chosen", "first that supports the call"),
        ("reference", "rejected", "first comes first"),
    ]
    assert rows() == [
        ("first", "rejected", "only the causal mask"),
        ("reference", "chosen", "first that supports the call"),
    ]
    assert rows(implementation="reference") == [
        ("first", "rejected", "reference was requested"),
        ("reference", "chosen", "requested"),
    ]
    assert rows(implementation="first")[0] == ("first", "rejected", "only the causal mask")
    assert explain(*SHAPES)[0][3:] == (None, None)


@pytest.mark.parametrize("sizes", [(0, 40, 50), (2, 0, 300), (2, 300, 0)])
def test_explain_of_no_scores_costs_nothing(sizes):
    batch, num_queries, num_keys = sizes
    given = shape(batch, num_queries, 2, 8), *(shape(batch, num_keys, 2, 8) for _ in range(2))
    for implementation in (None, "tiled"):
        rows = explain(*given, implementation=implementation)
        (chosen,) = (row for row in rows if row.verdict == "chosen")
        assert chosen[3:] == (0, 0)


def test_explain_counts_flops_and_bytes_from_shapes():
    long = 1 << 20  # its scores would take 4 TB
    *_, row = explain(
        shape(1, long, 1, H),
        shape(1, long, 1, H),
        shape(1, long, 1, Hv),
        mask=Causal() & Padding(shape(1, long, dtype=bool)),
        dropout=Dropout(0.1, shape(dtype=jax.random.key(0).dtype)),
        capture="all",
    )
    products = 2 * long**2 * (H + Hv)
    assert products < row.flops < 10 * products
    assert row.bytes > 2 * 4 * long**2


def test_explain_takes_the_arguments_of_attend():
    with pytest.raises(TypeError, match="msak"):
        explain(*SHAPES, msak=Causal())


def test_kernels_must_be_named_if_devices_may_share_a_program(monkeypatch):
    monkeypatch.setattr(pallas_gpu, "INTERPRET", True)
    long = (shape(1, 512, 2, 16),) * 3

    def of_pallas(**options):
        return next(row for row in explain(*long, **options) if row.name == "pallas")

    assert "pmap or shard_map" in of_pallas().reason
    assert of_pallas(implementation="pallas").verdict == "chosen"
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert of_pallas().verdict == "chosen"
