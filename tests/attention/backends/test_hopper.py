"""The kernels for Hopper: comparison in Mosaic's interpreter, schedules and refusals."""

import importlib.machinery
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    Additive,
    Causal,
    Dense,
    Dropout,
    Full,
    Gaussian,
    Window,
    attend,
)
from attn_research.attention.backends.hopper import backend as hopper
from attn_research.attention.backends.hopper.blocks import ITEM_OVERHEAD, Items
from attn_research.attention.testing.cases import Case
from attn_research.attention.testing.comparison import compare
from attn_research.attention.testing.interpret import interpret_kernels
from tests.attention.explained import chosen, verdict

T, S, N, K = 21, 37, 4, 2


@pytest.fixture
def interpreted(monkeypatch):
    """Lets the kernels run here, by two blocks that take several tiles each."""
    if jax.__version_info__ < hopper.RELEASE:
        pytest.skip(f"before jax 0.11 there is no interpreter of them, here is {jax.__version__}")
    interpret_kernels(monkeypatch.setattr)
    monkeypatch.setattr(hopper, "PROGRAMS", 2)


@pytest.fixture
def on_any_platform(monkeypatch):
    """As on a GPU that has them, whatever the release: nothing is run."""
    monkeypatch.setattr(hopper, "INTERPRET", True)


# Sizes are B T S N K H Hv, no length a multiple of a tile.
CASES = {
    "causal, which blocks take by a schedule": Case(
        mask="causal", dtype="bfloat16", sizes=(1, 257, 300, 2, 1, 64, 64)
    ),
    "grouped heads, several tiles": Case(
        mask="causal & left padding", dtype="bfloat16", sizes=(1, 257, 140, 2, 1, 64, 64)
    ),
    "documents, some of whose queries attend to no key": Case(
        mask="future of the segment", dtype="float16", sizes=(2, 70, 150, 1, 1, 64, 64)
    ),
    "padding, of wide heads": Case(
        mask="padding", dtype="bfloat16", sizes=(2, 9, 70, 1, 1, 128, 128)
    ),
    "a step of a cache": Case(
        mask="window or padding", dtype="bfloat16", sizes=(1, 40, 133, 2, 2, 64, 64), mode="step"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_kernels_equal_the_oracle(name, interpreted):
    assert not compare("hopper", CASES[name]).wrong()


@pytest.mark.parametrize("last_first", [False, True])
def test_a_schedule_assigns_every_item_once_and_balances_the_blocks(last_first):
    visited = tuple(range(1, 33)) if last_first else tuple(range(32, 0, -1))
    items = Items(4, 16, 32, together=16, most_programs=132, last_first=last_first)
    (table,) = items.schedule(visited)
    taken = [row[1 : 1 + row[0]] for row in table]
    assert np.array_equal(np.sort(np.concatenate(taken)), np.arange(4 * 16 * 32))
    # Of 16 heads together all have their longest tile first, and so on.
    cost = ITEM_OVERHEAD + 32 - np.arange(4 * 16 * 32) % (16 * 32) // 16
    ends = np.array([cost[numbers].sum() for numbers in taken])
    in_turn = np.array([cost[program::132].sum() for program in range(132)])
    assert ends.max() < 1.01 * ends.mean() < 0.9 * in_turn.max()
    assert items.schedule(None) == items.schedule((3,) * 32) == ()


def test_a_schedule_accounts_for_a_smaller_last_group_of_heads():
    items = Items(1, 5, 4, together=2, most_programs=3, last_first=True)
    visited = 1, 10, 100, 1000
    # Five heads, two together: their last tiles, the ones before those, and so on.
    costs = [
        2 * visited[t] + ITEM_OVERHEAD
        for heads in (2, 2, 1)
        for t in (3, 2, 1, 0)
        for _ in range(heads)
    ]
    ends, taken = [0, 0, 0], [[], [], []]
    for number, cost in enumerate(costs):
        block = ends.index(min(ends))
        ends[block] += cost
        taken[block].append(number)
    (table,) = items.schedule(visited, heads=2)
    assert [row[1 : 1 + row[0]].tolist() for row in table] == taken


def shapes(width=64, value_width=None, dtype="bfloat16"):
    sizes = (1, T, N, width), (1, S, K, width), (1, S, K, value_width or width)
    return [jax.ShapeDtypeStruct(size, dtype) for size in sizes]


def reason(arrays=None, **options):
    """The reason for or against it in a call."""
    return verdict("hopper", *(arrays or shapes()), **options, implementation="hopper").reason


def test_causal_flops_are_about_half_of_full_flops(on_any_platform):
    assert reason(mask=Causal()) == "requested"
    wide = [jax.ShapeDtypeStruct((1, 16384, 1, 128), jnp.bfloat16)] * 3

    def flops(mask):
        return verdict("hopper", *wide, mask=mask, implementation="hopper").flops

    assert flops(Full()) > 4 * 128 * 16384**2
    assert flops(Causal()) < 0.51 * flops(Full())


REFUSED = {
    "dropout is not for this kernel: use pallas": {"dropout": Dropout(0.1, jax.random.key(0))},
    "a bias is not added by the kernels: use tiled": {"bias": jnp.zeros((1, 1, T, S))},
    "the normalizer Gaussian is no plain softmax": {"normalizer": Gaussian(jnp.zeros((1, T)), 1.0)},
    "the score Additive is no product": {"score": Additive(jnp.ones(64))},
    "the mask Dense has arrays, and no rule by tile": {"mask": Dense(jnp.ones((1, T, S), bool))},
    "float32 is not of bfloat16, float16: use pallas": {"arrays": shapes(dtype="float32")},
    "head widths are not all one of 64, 128: use pallas": {"arrays": shapes(96)},
}


@pytest.mark.parametrize("why", REFUSED)
def test_unsupported_calls_are_refused(why, on_any_platform):
    assert reason(**REFUSED[why]).startswith(why)


def test_values_of_another_width_or_dtype_are_refused(on_any_platform):
    assert reason(shapes(64, 128)) == "head widths are not all one of 64, 128: use pallas"
    *pair, _ = shapes()
    mixed = [*pair, shapes(dtype="float16")[-1]]
    assert reason(mixed) == "queries, keys and values are not of one dtype: use pallas"


class Device:
    """The attributes of a GPU."""

    def __init__(self, capability):
        self.compute_capability, self.device_kind = capability, f"a GPU of {capability}"


def on_a_gpu(monkeypatch, capability="9.0", release=(0, 11, 2)):
    """As if JAX of a release ran on one GPU; nothing can be computed there."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [Device(capability)])
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(jax, "__version_info__", release)
    monkeypatch.setattr(jax, "__version__", ".".join(map(str, release)))
    found = importlib.machinery.ModuleSpec(hopper.COMPILER, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)


def test_other_platforms_are_refused_with_the_reason(monkeypatch):
    assert reason() == "runs on a GPU, here is cpu"
    with pytest.raises(NotImplementedError, match=r"^hopper: runs on a GPU, here is cpu$"):
        attend(*map(lambda s: jnp.zeros(s.shape, s.dtype), shapes()), implementation="hopper")
    on_a_gpu(monkeypatch, release=(0, 10, 2))
    assert reason() == "needs jax 0.11 or later, here is 0.10.2: use pallas"
    on_a_gpu(monkeypatch, "10.0")
    assert reason() == "is for compute capability 9.0, a GPU of 10.0 has another: use pallas"
    on_a_gpu(monkeypatch)
    assert reason() == "requested"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert reason() == f"jax 0.11.2 has no {hopper.COMPILER}: use pallas"


def test_hopper_is_chosen_after_cudnn_and_before_pallas(monkeypatch):
    on_a_gpu(monkeypatch)

    arrays = [jax.ShapeDtypeStruct((1, 4096, 2, 64), jnp.bfloat16)] * 3
    assert chosen(*arrays, mask=Causal()).name == "cudnn"
    assert chosen(*arrays, mask=Causal() | Window(9, 9)).name == "hopper"
    dropout = Dropout(0.1, jax.random.key(0))
    assert chosen(*arrays, mask=Causal(), dropout=dropout).name == "pallas"
