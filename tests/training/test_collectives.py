"""Collectives of compiled programs whose traffic is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from attn_research.training.collectives import Traffic, collectives

TURNS, ROWS, COLUMNS = 5, 8, 6


def traffic(function, out_specs):
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    shared = jax.shard_map(
        function, mesh=mesh, in_specs=P("data"), out_specs=out_specs, check_vma=False
    )
    x = jax.ShapeDtypeStruct((4 * ROWS, COLUMNS), jnp.float32)
    return collectives(jax.jit(shared).lower(x).compile().as_text())


def test_collectives_are_counted_by_kind_and_bytes():
    one = ROWS * COLUMNS * 4
    assert traffic(lambda x: jax.lax.psum(x, "data"), P()) == {"all-reduce": Traffic(1, one)}
    gathered = traffic(lambda x: jax.lax.all_gather(x, "data", tiled=True), P())
    assert gathered == {"all-gather": Traffic(1, 4 * one)}
    scattered = traffic(lambda x: jax.lax.psum_scatter(x, "data", tiled=True), P("data"))
    assert scattered == {"reduce-scatter": Traffic(1, one // 4)}


def test_every_iteration_of_a_loop_counts():
    def turns(x):
        def turn(total, _):
            return jnp.sin(jax.lax.psum(total, "data")), None

        return jax.lax.scan(turn, x, None, length=TURNS)[0]

    found = traffic(turns, P())
    assert found == {"all-reduce": Traffic(TURNS, TURNS * ROWS * COLUMNS * 4)}


@pytest.mark.parametrize(
    ("types", "kind", "received"),
    [
        ("(f32[8]{0}, f32[32]{0})", "all-gather", 128),
        ("((f32[8]{0}, bf16[4,2]{1,0}), (f32[32]{0}, bf16[16,2]{1,0}))", "all-gather", 192),
        ("(f32[8]{0}, f32[8]{0}, u32[], u32[])", "collective-permute", 32),
        ("(f32[8]{0}, f32[4]{0})", "all-reduce", 48),
    ],
)
def test_asynchronous_collectives_count_received_bytes_only(types, kind, received):
    line = f"  %start = {types} {kind}-start(%p), channel_id=1"
    text = "\n".join(["ENTRY %main (p: f32[8]) -> f32[8] {", line, "}"])
    assert collectives(text) == {kind: Traffic(1, received)}


def test_devices_without_collectives_have_no_traffic():
    assert traffic(jnp.sin, P("data")) == {}
