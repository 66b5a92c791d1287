"""Longformer's and BigBird's attention beside the original's, and masks by layer in encoders."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    BlockWindow,
    ByHead,
    ByLayer,
    Capture,
    Causal,
    Dense,
    Global,
    GlobalTokens,
    Padding,
    RandomBlocks,
    Window,
    attend,
    longformer,
)
from attn_research.attention.backends.xla_flash import run_time, tiling
from attn_research.layers.longformer import LongformerAttention, copy_to_global
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.models.bert import Bert
from attn_research.models.gpt import GPT

HEADS, BLOCK = 3, 4


@functools.cache
def golden(name):
    with np.load(pathlib.Path(__file__).parents[1] / "golden" / "sparse.npz") as arrays:
        found = {key: jnp.asarray(arrays[key]) for key in arrays if key.startswith(f"{name}/")}
    return {key.removeprefix(f"{name}/"): array for key, array in found.items()}


@pytest.fixture
def several_tiles(monkeypatch):
    monkeypatch.setattr(tiling, "QUERY_TILE", 8)
    monkeypatch.setattr(tiling, "KEY_TILE", 8)
    monkeypatch.setattr(run_time, "LEAST_TILES", 1)
    monkeypatch.setattr(run_time, "partitioning_devices", lambda: 1)


@pytest.mark.parametrize("implementation", ["reference", "tiled"])
def test_longformer_equals_the_original(implementation, several_tiles):
    arrays = golden("longformer")
    states, valid = arrays["states"], arrays["valid"]
    width = states.shape[-1]
    layer = LongformerAttention(
        HEADS, width // HEADS, use_bias=True, implementation=implementation, max_global=3
    )
    params = {"output": {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}}
    for name, array in arrays.items():
        if "/" in name:
            module, part = name.split("/")
            params.setdefault(module, {})[part] = array
    tokens = GlobalTokens(arrays["global"], arrays["global"])
    mask = longformer(2, tokens) & Padding(valid)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def run(states):
        def attention(layer, states):
            return layer(states, layer.project(states), mask)[0]

        context = layer.apply({"params": params}, states, method=attention)
        return jnp.sum(jnp.cos(context) * valid[..., None]), context

    (_, context), gradient = run(states)
    np.testing.assert_allclose(context[valid], arrays["context"][valid], atol=2e-6)
    np.testing.assert_allclose(gradient, arrays["d_states"], atol=2e-5)


@pytest.mark.parametrize("implementation", ["reference", "tiled"])
def test_big_bird_equals_the_original(implementation, several_tiles):
    arrays = golden("big_bird")
    valid, length = arrays["valid"], arrays["query"].shape[1]
    blocks = np.zeros((HEADS, length // BLOCK, length // BLOCK), bool)
    drawn = np.asarray(arrays["blocks"])
    np.put_along_axis(blocks[:, 1:-1], drawn, True, axis=-1)
    random = [np.kron(each, np.ones((BLOCK, BLOCK))) > 0 for each in blocks]
    random = ByHead(tuple(Dense(jnp.asarray(np.stack([each] * 2))) for each in random))
    ends = Global(0, BLOCK) | Global(length - BLOCK, length)
    mask = (BlockWindow(BLOCK, 1, 1) | ends | random) & Padding(valid)

    def loss(*operands):
        context, _ = attend(*operands, mask=mask, implementation=implementation)
        return jnp.sum(jnp.cos(context) * valid[..., None, None]), context

    operands = tuple(arrays[name] for name in ("query", "key", "value"))
    (_, context), found = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(*operands)
    np.testing.assert_allclose(context[valid], arrays["context"][valid], atol=2e-6)
    for gradient, name in zip(found, ("query", "key", "value"), strict=True):
        np.testing.assert_allclose(gradient, arrays[f"d_{name}"], atol=1e-5)


def test_global_projections_that_are_copies_change_nothing():
    states = jnp.asarray(np.random.default_rng(0).standard_normal((2, 9, 12)), jnp.float32)
    plain, separate = (kind(HEADS, 4) for kind in (MultiHeadAttention, LongformerAttention))
    mask = longformer(1, Global(2, 4)) & Padding(jnp.arange(9)[None] < jnp.array([[9], [7]]))

    def run(layer, states, capture="all"):
        return layer(states, layer.project(states), mask, capture=capture)

    params = plain.init(jax.random.key(0), states, method=run)
    copied = {"params": copy_to_global(params["params"])}
    shapes = jax.eval_shape(functools.partial(separate.init, method=run), jax.random.key(0), states)
    assert jax.tree.structure(copied) == jax.tree.structure(shapes)
    expected = plain.apply(params, states, method=run)
    found = separate.apply(copied, states, method=run)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    some = functools.partial(run, capture=Capture((2, 0), tuple(range(9))))
    weights = separate.apply(copied, states, method=some)[1]
    np.testing.assert_allclose(weights, found[1][:, jnp.array([2, 0])], atol=1e-6)
    with pytest.raises(ValueError, match="the weights of all queries, not of 2: name every row"):
        separate.apply(copied, states, method=functools.partial(run, capture=Capture((0,), (0, 1))))


def test_what_the_layer_refuses():
    states = jnp.zeros((1, 5, 12))
    layer = LongformerAttention(HEADS, 4)

    def run(layer, states, mask):
        return layer(states, layer.project(states), mask)

    for mask, kinds in ((Causal(), 0), (Global(0, 1) | Global(4, 5), 2)):
        with pytest.raises(ValueError, match=f"has {kinds} kinds of global tokens"):
            layer.init(jax.random.key(0), states, mask, method=run)


IDS = jnp.asarray(np.random.default_rng(0).integers(1, 11, (2, 10)))
RANDOM = RandomBlocks(1, 2, 10, num_heads=HEADS)
LAYERED = {
    "a mask for each layer": (
        ByLayer((Window(1, 1), Causal(), Window(1, 1))),
        [Window(1, 1), Causal(), Window(1, 1)],
    ),
    "by head in one layer": (
        ByLayer((Window(1, 1), ByHead((Causal(), Window(1, 0), Causal())), Window(1, 1))),
        [Window(1, 1), ByHead((Causal(), Window(1, 0), Causal())), Window(1, 1)],
    ),
    "random blocks": (Window(0, 0) | RANDOM, [Window(0, 0) | RANDOM.of_layer(n) for n in range(3)]),
}


@pytest.mark.parametrize("name", LAYERED)
def test_an_encoder_takes_masks_by_layer(name):
    mask, of_layers = LAYERED[name]
    network = Bert(11, 3, 12, 20, HEADS, mask=mask)
    params = jax.jit(network.init)(jax.random.key(0), IDS)
    apply = jax.jit(network.apply, static_argnames="capture")
    weights = apply(params, IDS, capture="all").weights  # [B, L, N, T, T]
    for layer, expected in enumerate(of_layers):
        allowed = np.broadcast_to(expected.dense(10, 10), (HEADS, 10, 10))
        np.testing.assert_array_equal(np.asarray(weights[0, layer]) > 0, allowed)


def test_a_decoder_has_the_same_masks_by_layer_in_steps():
    mask = ByLayer((Window(1, 0), RANDOM | Window(0, 0)))
    network = GPT(11, 2, 12, 20, HEADS, mask=mask)
    params = jax.jit(network.init)(jax.random.key(0), IDS)
    whole = jax.jit(network.apply)(params, IDS).logits
    state = network.apply(params, 2, 10, method="begin")
    run = jax.jit(functools.partial(network.apply, method="step"))
    for position in range(10):
        step = run(params, state, IDS[:, position : position + 1])
        state = step.state
        np.testing.assert_allclose(step.logits[:, 0], whole[:, position], atol=1e-5)


def test_an_encoder_with_separate_global_projections():
    make = functools.partial(LongformerAttention, max_global=2)
    network = Bert(11, 2, 12, 20, HEADS, mask=longformer(1), attention=make)
    params = network.init(jax.random.key(0), IDS)
    assert "query_global" in params["params"]["blocks"]["attention"]
    plain = Bert(11, 2, 12, 20, HEADS, mask=longformer(1))
    shared = plain.init(jax.random.key(0), IDS)
    copied = {"params": copy_to_global(shared["params"])}
    found, expected = network.apply(copied, IDS).states, plain.apply(shared, IDS).states
    np.testing.assert_allclose(found, expected, atol=1e-5)
