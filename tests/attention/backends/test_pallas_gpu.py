"""The Pallas GPU kernels: tiles visited, captured weights, refusals, and lowering for a GPU."""

import dataclasses
import functools
import math
import re

import jax
import jax.export
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

from attn_research.attention import (
    Additive,
    Around,
    Capture,
    Causal,
    Dropout,
    Full,
    Gaussian,
    Mask,
    Padding,
    Positions,
    Segments,
    Window,
    attend,
)
from attn_research.attention.backends.pallas_gpu import backend as pallas_gpu
from attn_research.attention.backends.tiles import calls
from attn_research.attention.call import AttentionCall
from attn_research.attention.masks import Tile
from attn_research.trees import pytree
from tests.attention.explained import verdict
from tests.attention.inputs import random_arrays

B, T, S, N, K, H, Hv = 2, 21, 37, 4, 2, 3, 5
KERNEL = "__gpu$xla.gpu.triton"


@pytest.fixture
def on_a_cpu(monkeypatch):
    """Lets the kernels run here, in small tiles."""
    monkeypatch.setattr(pallas_gpu, "INTERPRET", True)
    monkeypatch.setattr(pallas_gpu, "TILES", {256: ((32, 16), (32, 16), (16, 32))})


ARRAYS = random_arrays((B, T, N, H), (B, S, K, H), (B, S, K, Hv))
VALID = Padding(jnp.asarray(np.arange(S) < np.array([[5], [30]])))


def with_gradients(implementation, arrays=ARRAYS, **options):
    """Context, weights and all gradients."""

    @jax.jit
    def both(*arrays):
        out, pull = jax.vjp(
            functools.partial(attend, implementation=implementation, **options), *arrays
        )
        return out, pull(jax.tree.map(lambda x: jnp.cos(x), out))

    return jax.tree.leaves(both(*arrays))


def test_captures_positions_and_dropout_equal_the_reference(on_a_cpu):
    options = {
        "mask": Causal() & Window(12, 0) & VALID,
        "positions": Positions(jnp.asarray([np.arange(T) + 3, 2 * np.arange(T)])),
        "dropout": Dropout(0.3, jax.random.key(3)),
        "capture": Capture(heads=(3, 0), rows=(20, 1, 2)),
    }
    pairs = zip(*(with_gradients(i, **options) for i in ("pallas", "reference")), strict=True)
    for got, expected in pairs:
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [16, 80, 256])
def test_padded_widths_keep_the_scale_of_the_true_width(width, on_a_cpu):
    arrays = random_arrays((1, 5, 2, width), (1, 9, 1, width), (1, 9, 1, width))
    both = (with_gradients(i, arrays, mask=Causal()) for i in ("pallas", "reference"))
    for got, expected in zip(*both, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=3e-5)


@pytree
@dataclasses.dataclass(frozen=True)
class Wrong(Mask):
    """A mask with a false layout: the results show which tiles were visited, and how."""

    kind: Tile = dataclasses.field(metadata={"static": True})

    def __call__(self, q_pos, k_pos):
        return (q_pos < 0) & (k_pos < 0)

    def layout(self, num_queries, num_keys, block):
        layout = Full().layout(num_queries, num_keys, block)
        layout[:, 1:] = Tile.EMPTY
        layout[:, 0] = self.kind
        return layout


def test_full_tiles_skip_the_mask_and_empty_tiles_are_not_visited(on_a_cpu):
    def context(**options):
        return attend(*ARRAYS, implementation="pallas", **options).context

    query, key, value = ARRAYS
    first = attend(query, key[:, :16], value[:, :16], implementation="reference").context
    np.testing.assert_allclose(context(mask=Wrong(Tile.FULL)), first, rtol=1e-5, atol=1e-5)
    assert not context(mask=Wrong(Tile.PARTIAL)).any()


def test_lists_of_visited_tiles():
    kinds = Causal().layout(64, 64, 16)[None]
    (tiles, spans), lie = calls.list_visits(kinds, by_key=False)
    assert spans.tolist() == [[[0, 1, 0, 0], [1, 2, 0, 1], [2, 3, 0, 2], [3, 4, 0, 3]]]
    assert tiles.shape == (1, 4, 1)  # no list is needed
    assert lie == {"full": "run", "partial": "run", "visited": (1, 2, 3, 4)}
    window = (Causal() & Window(40, 0)).layout(128, 128, 16)[None]
    (tiles, spans), lie = calls.list_visits(window, by_key=True)
    assert tiles.shape == (1, 8, 4)  # as long as the longest
    assert tiles[0, 0].tolist() == [1, 0, 2, 3] and spans[0, 0].tolist() == [1, 4, 1, 0]
    assert lie == {"full": "run", "partial": "list", "visited": (4, 4, 4, 4, 4, 3, 2, 1)}
    (tiles, _), lie = calls.list_visits(jnp.asarray(kinds), by_key=False)
    assert tiles.shape == (1, 4, 4)
    drawn = np.random.default_rng(0).integers(0, 3, (2, 7, 90), np.int8)
    (tiles, _), _ = calls.list_visits(jnp.asarray(drawn), by_key=False)
    np.testing.assert_array_equal(tiles, np.argsort(-drawn, axis=-1, kind="stable"))
    assert lie == {"full": "list", "partial": "list", "visited": None}
    assert calls.list_visits(Full().layout(64, 64, 16)[None], by_key=False)[1]["partial"] is None


CUDA = {
    "causal": {"mask": Causal()},
    "window or padding": {"mask": ~Window(9, 2) | VALID},
    "around, dropout": {
        "mask": Around(jnp.zeros((B, T)), 5),
        "dropout": Dropout(0.3, jax.random.key(3)),
    },
    "segments, positions": {
        "mask": Segments(jnp.zeros((B, T), int), jnp.zeros((B, S), int)),
        "positions": Positions(query=jnp.arange(T)),
    },
}


def lowered(shapes, place=lambda function: function, **options):
    """The program for a GPU, kernels within, of a call and its gradients."""
    release = tuple(map(int, jaxlib.__version__.split(".")[:3]))
    if release > (0, 10, 2) and jax.default_backend() != "gpu":
        pytest.skip("after 0.10.2 kernels are lowered for the GPU that is there, and none is")

    def context(*arrays):
        return pallas_gpu.attend(AttentionCall(*arrays, **options)).context

    def loss(*arrays):
        return place(context)(*arrays).astype(jnp.float32).sum()

    return jax.export.export(
        jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2))),
        platforms=["cuda"],
        disabled_checks=[jax.export.DisabledSafetyCheck.custom_call(KERNEL)],
    )(*shapes).mlir_module()


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")
@pytest.mark.parametrize("dtype", pallas_gpu.DTYPES)
@pytest.mark.parametrize("name", CUDA)
def test_kernels_lower_for_a_gpu_without_one(name, dtype):
    shapes = [jax.ShapeDtypeStruct(array.shape, dtype) for array in ARRAYS]
    text = lowered(shapes, **CUDA[name])
    assert text.count(f"custom_call @{KERNEL}") == 3
    for kernel in ("attend", "attend_d_query", "attend_d_key"):
        assert text.count(f'name = "{kernel}"') == 1


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")
@pytest.mark.parametrize("mask", ["causal & padding", "segments"])
def test_no_array_is_as_large_as_the_scores(mask):
    length = 4096
    shape = jax.ShapeDtypeStruct((1, length, 2, 64), jnp.bfloat16)
    ids = jnp.zeros((1, length), int)
    masks = {"causal & padding": Causal() & Padding(ids == 0), "segments": Segments(ids, ids)}
    text = lowered([shape] * 3, mask=masks[mask])
    shapes = re.findall(r"tensor<((?:\d+x)+)", text)
    sizes = [math.prod(map(int, shape.split("x")[:-1])) for shape in shapes]
    assert max(sizes) == 2 * length * 64


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")
def test_kernels_lower_in_a_shard_map():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    by_batch = jax.sharding.PartitionSpec("data")
    place = functools.partial(jax.shard_map, mesh=mesh, in_specs=by_batch, out_specs=by_batch)
    assert lowered(ARRAYS, place, mask=Causal()).count(f"custom_call @{KERNEL}") == 3


REFUSED = {
    "a bias is not added": {"bias": jnp.zeros((1, 1, T, S))},
    "the normalizer Gaussian is no plain softmax": {"normalizer": Gaussian(jnp.zeros((B, T)), 1.0)},
    "the score Additive is no product": {"score": Additive(jnp.ones(H))},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_unsupported_calls_are_refused(reason, on_a_cpu):
    with pytest.raises(NotImplementedError, match=f"^pallas: {reason}"):
        attend(*ARRAYS, **REFUSED[reason], implementation="pallas")


def test_wide_heads_are_refused(on_a_cpu):
    wide = jax.ShapeDtypeStruct((1, 300, 2, 320), jnp.float32)
    assert verdict("pallas", wide, wide, wide).reason == "a head width of 320 is more than 256"


def test_other_platforms_are_refused_with_the_reason():
    for name, device in (("pallas", "GPU"), ("cudnn", "GPU"), ("splash", "TPU")):
        assert verdict(name, *ARRAYS).reason == f"runs on a {device}, here is cpu"
    with pytest.raises(NotImplementedError, match=r"^pallas: runs on a GPU, here is cpu$"):
        attend(*ARRAYS, implementation="pallas")


def test_costs_follow_the_mask(monkeypatch):
    monkeypatch.setattr(pallas_gpu, "INTERPRET", True)

    def flops(mask):
        shape = jax.ShapeDtypeStruct((1, 16384, 1, 64), jnp.bfloat16)
        return verdict("pallas", shape, shape, shape, mask=mask).flops

    assert flops(Full()) > 4 * 64 * 16384**2
    assert flops(Causal()) < 0.51 * flops(Full())
    assert flops(Causal() & Window(255, 0)) < 0.03 * flops(Full())
