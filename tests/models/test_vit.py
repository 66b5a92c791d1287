"""The Vision Transformer: published parameter counts, patches, positions, pooling."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from attn_research.attention import Window
from attn_research.layers.convolution import ResidualStem
from attn_research.layers.embeddings import resize_positions
from attn_research.layers.scoring import SCORINGS, make_scoring
from attn_research.models.vit import SIZES, ViT
from attn_research.rng import per_example_key

# With a head of 1,000 classes: patches of 14, 16 and 32 at 224 pixels, and of 16 at 384.
COUNTS = {
    "Ti": (5_694_376, 5_717_416, 6_131_560, 5_790_376),
    "S": (22_004_584, 22_050_664, 22_878_952, 22_196_584),
    "B": (86_475_496, 86_567_656, 88_224_232, 86_859_496),
    "L": (304_203_752, 304_326_632, 306_535_400, 304_715_752),
    "H": (632_045_800, 632_199_400, 634_960_360, 632_685_800),
}


@pytest.mark.parametrize("size", SIZES)
def test_parameter_counts_as_published(size):
    layers, width, mlp, heads = SIZES[size]
    found = []
    for patch, pixels in ((14, 224), (16, 224), (32, 224), (16, 384)):
        network = ViT(1000, (pixels, pixels), patch, layers, width, mlp, heads)
        image = jax.ShapeDtypeStruct((1, pixels, pixels, 3), jnp.float32)
        shapes = jax.eval_shape(network.init, jax.random.key(0), image)
        found.append(sum(x.size for x in jax.tree.leaves(shapes)))
    assert tuple(found) == COUNTS[size]


@pytest.mark.parametrize(
    ("size", "patch", "expected"),
    [
        ("B", 16, 85_798_656),
        ("L", 16, 303_301_632),
        ("L", 32, 305_510_400),
        ("H", 14, 630_764_800),
    ],
)
def test_parameter_counts_without_a_head(size, patch, expected):
    network = ViT(0, (224, 224), patch, *SIZES[size])
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), image)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == expected


@functools.cache
def make_case(patch=4, **options):
    network = ViT(5, (8, 12), patch, num_layers=2, model_dim=6, mlp_dim=10, num_heads=3, **options)
    images = jnp.array(np.random.default_rng(1).normal(size=(2, 8, 12, 3)), jnp.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.array(0.5 * rng.normal(size=x.shape), jnp.float32), shapes)
    return network, params, images


def test_the_first_block_reads_the_token_then_patches_row_by_row():
    network, params, images = make_case()
    found = jax.jit(functools.partial(network.apply, capture="all"))(params, images)
    assert found.logits.shape == (2, 5)
    assert found.weights.shape == (2, 2, 3, 7, 7)  # B L N P P
    np.testing.assert_allclose(found.weights.sum(axis=-1), np.ones((2, 2, 3, 7)), atol=1e-5)
    # Every pixel matters, and only through its own patch: moving a patch moves its embedding.
    p = jax.tree.map(np.asarray, params["params"])
    states = [p["token"] + p["positions"][0]]
    for place in range(6):
        row, column = divmod(place, 3)
        patch = np.asarray(images)[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].reshape(
            -1
        )
        states.append(patch @ p["embed"]["kernel"] + p["embed"]["bias"] + p["positions"][place + 1])
    block = jax.tree.map(lambda x: x[0], p["blocks"])
    inner = np.array(states)
    inner = (inner - inner.mean(-1, keepdims=True)) / np.sqrt(inner.var(-1, keepdims=True) + 1e-6)
    norm = block["around_attention"]["norm"]
    inner = inner * norm["scale"] + norm["bias"]
    query, key = (
        (inner @ block["attention"][name]["kernel"] + block["attention"][name]["bias"]).reshape(
            7, 3, 2
        )
        for name in ("query", "key")
    )
    scores = np.einsum("tnh,snh->nts", query, key) / np.sqrt(2)
    expected = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found.weights[0, 0], expected, atol=1e-4)


def test_logits_equal_those_of_another_library():
    golden = np.load(pathlib.Path(__file__).parents[1] / "golden" / "vit.npz", allow_pickle=False)
    leaves = {tuple(name.split("/")): golden[name] for name in golden.files if "/" in name}
    leaves |= {(name,): golden[name] for name in ("token", "positions")}
    params = {"params": traverse_util.unflatten_dict(leaves)}
    network = ViT(5, (8, 12), 4, num_layers=2, model_dim=12, mlp_dim=20, num_heads=3)
    found = jax.jit(network.apply)(params, jnp.array(golden["images"])).logits
    np.testing.assert_allclose(found, golden["logits"], rtol=1e-4, atol=1e-5)


def test_mean_pooling_has_no_token():
    network, params, images = make_case(pooling="mean")
    assert "token" not in params["params"]
    assert params["params"]["positions"].shape == (6, 6)
    found = jax.jit(functools.partial(network.apply, capture="all"))(params, images)
    assert found.weights.shape[-1] == 6


def test_drop_path_drops_whole_examples_independently_of_the_batch():
    network, params, images = make_case(drop_path=0.5)
    images = jnp.concatenate([images] * 8)
    plain = make_case()[0].apply

    def logits(images, first):
        key = per_example_key(jax.random.key(1), first)
        return network.apply(params, images, train=True, rngs={"dropout": key}).logits

    found = np.asarray(logits(images, 0))
    assert len(np.unique(found[::2].round(4), axis=0)) > 3  # one image, other layers left out
    np.testing.assert_allclose(found[5:7], logits(images[5:7], 5), rtol=1e-4, atol=1e-5)
    still = network.apply(params, images).logits
    np.testing.assert_array_equal(still, plain(params, images).logits)
    # With every layer left out, the embeddings are read as they are.
    network = make_case(drop_path=1.0)[0]
    empty = jax.tree.map(lambda x: x, params)
    empty["params"]["blocks"] = jax.tree.map(jnp.zeros_like, params["params"]["blocks"])
    rngs = {"dropout": jax.random.key(0)}
    bare = network.apply(params, images, train=True, rngs=rngs).logits
    np.testing.assert_allclose(bare, plain(empty, images).logits, rtol=1e-5)


def test_a_mask_limits_the_receptive_field_of_the_class_token():
    # One block: the token, which is first, reads of the six patches only those in its window.
    def reached(**options):
        network, params, images = make_case(**options)
        network = network.clone(num_layers=1)
        params = {
            "params": params["params"]
            | {"blocks": jax.tree.map(lambda x: x[:1], params["params"]["blocks"])}
        }
        total = jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(network.apply(params, x).logits))))
        gradient = np.abs(total(images)[0]).reshape(2, 4, 3, 4, 3).max(axis=(1, 3, 4))
        return (gradient.ravel() > 1e-7).tolist()

    assert reached() == [True] * 6
    assert reached(mask=Window(0, 2)) == [True] * 2 + [False] * 4


@pytest.mark.parametrize("score", SCORINGS)
def test_every_score_works_in_every_head(score):
    network, params, images = make_case(scoring=make_scoring(score, max_length=7))
    sizes = {"additive": 2, "concat": 2, "general": 4, "location": 2 * 7}
    leaves = jax.tree.leaves(params["params"]["blocks"]["attention"].get("scoring", {}))
    assert sum(x.size for x in leaves) == 2 * 3 * sizes.get(score, 0)  # 2 layers of 3 heads
    found = jax.jit(functools.partial(network.apply, capture="all"))(params, images)
    np.testing.assert_allclose(found.weights.sum(axis=-1), np.ones((2, 2, 3, 7)), atol=1e-5)


def test_positions_of_another_grid_are_interpolated():
    table = jnp.arange(12.0).reshape(6, 2)
    np.testing.assert_array_equal(resize_positions(table, (2, 3), (2, 3)), table)
    wide = np.asarray(resize_positions(table, (2, 3), (4, 6))).reshape(4, 6, 2)
    np.testing.assert_allclose(wide.mean(axis=(0, 1)), table.mean(axis=0), rtol=1e-5)
    assert (np.diff(wide, axis=0) >= 0).all() and (np.diff(wide, axis=1) >= 0).all()
    constant = resize_positions(jnp.ones((6, 2)), (2, 3), (5, 2), "bicubic")
    np.testing.assert_allclose(constant, np.ones((10, 2)), rtol=1e-6)
    network, params, _ = make_case()
    larger = jnp.ones((1, 16, 12, 3))
    assert jax.jit(network.apply)(params, larger).logits.shape == (1, 5)


def test_a_hybrid_equals_the_model_on_the_feature_map_of_its_stem():
    stem = ResidualStem(width=16, stages=2)
    network, params, images = make_case(patch=1, stem=stem)
    found = jax.jit(functools.partial(network.apply, capture="all"))(params, images)
    rest = dict(params["params"])
    maps = stem.apply({"params": rest.pop("stem")}, images)
    assert maps.shape == (2, 2, 3, 32) and network.grid((8, 12)) == (2, 3)
    plain = network.clone(stem=None, image_size=(2, 3))
    expected = plain.apply({"params": rest}, maps, capture="all")
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (dict(patch=5), "8 x 12 pixels are not made of patches of 5"),
        (dict(stem=ResidualStem(16, 1)), "patches of 8: give a --patch, or with a stem fewer"),
        (dict(patch=1, stem=ResidualStem(24, 1)), "stem of width 24: give a multiple of 16"),
        (dict(num_heads=4), "model_dim 6 is not a multiple of num_heads 4"),
    ],
)
def test_incompatible_sizes_are_refused(sizes, message):
    every = dict(patch=4, num_layers=1, model_dim=6, mlp_dim=10, num_heads=3) | sizes
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(ViT(5, (8, 12), **every).init, jax.random.key(0), jnp.ones((1, 8, 12, 3)))
