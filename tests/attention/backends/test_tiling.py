"""Sizes of tiles of XLA flash attention, steps of several, and what of a cache they fill."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Causal, Full, Padding, Window, attend, big_bird
from attn_research.attention.backends.xla_flash import (
    backend,
    cache,
    plan,
    rows,
    run_time,
    tiling,
)
from tests.attention.explained import verdict
from tests.attention.inputs import random_arrays


def test_tiles_are_small_where_heads_draw_their_own(monkeypatch):
    monkeypatch.setattr(run_time, "partitioning_devices", lambda: 1)
    shapes = [jax.ShapeDtypeStruct((1, 4096, 4, 64), jnp.float32)] * 3

    def tiles(mask):
        return verdict("tiled", *shapes, mask=mask, implementation="tiled").reason

    small = "tiles of 64 queries and 64 keys, "
    assert small in tiles(big_bird(4096, 4, block=64))
    assert small in tiles(big_bird(4096, 4, block=64).of_layer(0))
    assert small not in tiles(Padding(jnp.ones((1, 4096), bool)))


def test_steps_take_full_tiles_first_and_fill_the_last_up():
    layout = np.array([[2, 1, 0, 2, 2], [0, 0, 0, 0, 0], [1, 2, 2, 2, 2]], np.int8)
    visited = plan.Pass(rows.Blocks((1,), (1,)), layout, count=2)
    starts, tiles = visited._visits(masked=False)
    assert starts.tolist() == [0, 1, 1, 3] and tiles.tolist() == [[0, 3], [1, 2], [3, 4]]
    starts, tiles = visited._visits(masked=True)
    assert starts.tolist() == [0, 1, 1, 2] and tiles.tolist() == [[4, 1], [0, 5]]


def test_a_bias_past_the_end_is_not_read(monkeypatch):
    """A step takes three tiles of keys where there are two; the third would have no logarithm."""
    monkeypatch.setattr(tiling, "choose_tiling", lambda *given, **_: tiling.Tiling((8, 8), 3, 3))
    query, key, value = random_arrays(*[(1, 16, 1, 4)] * 3)

    def loss(slope):
        def bias(q_pos, k_pos):
            return slope * jnp.log(16.0 - k_pos) * jnp.ones_like(q_pos)

        found = attend(query, key, value, mask=Causal(), bias=bias, implementation="tiled")
        return (found.context**2).sum()

    assert np.isfinite(jax.jit(jax.grad(loss))(1.0))


def tiles(length, mask, monkeypatch, kib=512, cores=1):
    for module in (plan, backend):
        monkeypatch.setattr(module, "cache_bytes", lambda: kib * 1024)
    for module in (plan, backend, tiling):
        monkeypatch.setattr(module, "cores_of_device", lambda: cores)
    shape = jax.ShapeDtypeStruct((1, length, 1, 64), jnp.float32)
    row = verdict("tiled", *[shape] * 3, mask=mask, implementation="tiled")
    return row.reason.removeprefix("requested; tiles of ")


def test_tiles_are_as_small_as_a_mask_repays(monkeypatch):
    assert tiles(4096, Full(), monkeypatch).startswith("512 queries and 256 keys")
    found = tiles(4096, Causal(), monkeypatch)
    assert found.startswith("256 queries and 256 keys, 2 and 2 at a time")
    assert tiles(1024, Causal(), monkeypatch).startswith("256 queries and 256 keys")
    window = Causal() & Window(255, 0)
    found = "128 queries and 128 keys, 3 and 3 at a time"
    assert tiles(4096, window, monkeypatch).startswith(found)
    assert tiles(2**17, window, monkeypatch).startswith(found)
    # A layout of more small tiles is not made.
    assert tiles(2**20, window, monkeypatch).startswith("512 queries and 256 keys")


def test_cores_that_share_a_product_take_more_scores(monkeypatch):
    found = tiles(4096, Causal() & Window(255, 0), monkeypatch, cores=2)
    assert found.startswith("128 queries and 128 keys, 3 and 3 at a time, 524,288 scores at a time")
    assert found.endswith("for a cache of 512 KiB and 2 cores that share a product")


def test_the_cores_of_a_device_are_those_of_the_process(monkeypatch):
    monkeypatch.setattr(cache, "available_cores", lambda: 16)
    assert cache.cores_of_device() == 16 // jax.local_device_count()
    monkeypatch.setattr(cache, "available_cores", lambda: 1)
    assert cache.cores_of_device() == 1


def test_scores_at_a_time_fill_a_cache(monkeypatch):
    found = [tiles(4096, Full(), monkeypatch, kib).partition(", ")[2] for kib in (512, 2048)]
    assert found == [
        "131,072 scores at a time for a cache of 512 KiB",
        "524,288 scores at a time for a cache of 2,048 KiB",
    ]


@pytest.mark.parametrize(
    ("level", "size", "expected"),
    [("2", "512K", 2**19), ("2", "2M", 2**21), ("3", "32M", 2**21), ("2", "many", 2**21)],
)
def test_the_cache_of_level_2_is_read_or_assumed(tmp_path, level, size, expected):
    for index, (its_level, its_size) in enumerate([("1", "32K"), (level, size)]):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "level").write_text(its_level + "\n")
        (folder / "size").write_text(its_size + "\n")
    assert cache.l2_bytes(tmp_path) == expected
