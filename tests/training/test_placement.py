"""Placements: sharding, gathering, equal programs for all seeds, and meshes that do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from attn_research.training.mesh import parse_mesh, partition_specs
from attn_research.training.placement import OneDevice, check_rows, make_placement
from attn_research.training.pmapped import Pmapped
from attn_research.training.sharded import Sharded
from attn_research.training.step import Sums, TrainState, make_state

RULES = (("up/kernel$", (None, "tensor")), ("down/kernel$", ("tensor", None)))


def tree():
    shapes = {"up": (64, 128), "down": (128, 64), "norm": (64,), "odd": (65, 127)}
    return {name: {"kernel": np.zeros(shape, np.float32)} for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("", (8, 1, 1, 1)),
        ("data=4", (4, 1, 1, 1)),
        ("fsdp=2", (4, 2, 1, 1)),
        ("tensor=4,data=2", (2, 1, 4, 1)),
        ("sequence=8", (1, 1, 1, 8)),
    ],
)
def test_remaining_devices_of_a_mesh_go_to_the_data_axis(text, sizes):
    assert tuple(parse_mesh(text, 8).values()) == sizes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model=2", "no axis 'model'"),
        ("data", "give each axis one size"),
        ("data=0", "give each axis one size"),
        ("data=2,data=4", "give each axis one size"),
        ("fsdp=3", "3 does not divide the 8 devices"),
        ("tensor=2,sequence=2", "tensor and sequence do not go together"),
        ("data=4,fsdp=4", "needs 16 devices, and there are 8"),
    ],
)
def test_an_invalid_mesh_gives_a_one_line_error(text, message):
    with pytest.raises(ValueError, match=message):
        make_placement("sharded", text)


def test_axes_that_a_placement_lacks_are_refused():
    with pytest.raises(ValueError, match="is for --placement=sharded or pmap"):
        make_placement("jit", "data=2")
    with pytest.raises(ValueError, match="pmap has the axis data alone"):
        make_placement("pmap", "fsdp=2")
    assert make_placement("jit", num_microbatches=3) == OneDevice(3)
    assert make_placement("pmap", "data=4") == Pmapped(4)


def test_rows_that_devices_cannot_share_evenly_are_refused():
    placement = make_placement("sharded", "data=2,fsdp=2", num_microbatches=3)
    assert placement.row_multiple == 12
    check_rows({"x": np.zeros((24, 5))}, placement)
    with pytest.raises(ValueError, match=r"batch of 16 rows .* make it a multiple of 12"):
        check_rows({"x": np.zeros((16, 5))}, placement)


def test_partition_specs_follow_rules_and_divisibility():
    specs = partition_specs({"optimizer": tree()}, {"data": 1, "fsdp": 2, "tensor": 4}, RULES)[
        "optimizer"
    ]
    assert specs["up"]["kernel"] == P("fsdp", "tensor")
    assert specs["down"]["kernel"] == P("tensor", "fsdp")
    assert specs["norm"]["kernel"] == P(None)  # few
    assert specs["odd"]["kernel"] == P(None, None)  # 2 divides neither
    with pytest.raises(ValueError, match="tensor=3, and that divides no matrix"):
        partition_specs(tree(), {"data": 1, "fsdp": 1, "tensor": 3}, RULES)


def test_a_sharded_state_is_gathered_unchanged():
    kernel = np.arange(64 * 128.0, dtype=np.float32).reshape(64, 128)
    state = TrainState(np.int32(5), {"up": {"kernel": kernel}}, ())
    for name, mesh in (("pmap", "data=8"), ("sharded", "data=2,fsdp=2,tensor=2")):
        placement = make_placement(name, mesh, RULES)
        sharded = placement.shard_state(state)
        if isinstance(placement, Sharded):
            [one, *_] = sharded.params["up"]["kernel"].addressable_shards
            assert one.data.shape == (32, 64)
        np.testing.assert_array_equal(placement.gather(sharded).params["up"]["kernel"], kernel)


def test_every_device_gets_its_rows_of_a_batch():
    batch = {"x": np.arange(16).reshape(16, 1)}
    mapped = make_placement("pmap", "data=4").shard_batch(batch)["x"]
    np.testing.assert_array_equal(mapped[1, :, 0], [4, 5, 6, 7])
    sharded = make_placement("sharded", "data=2,fsdp=4").shard_batch(batch)["x"]
    assert {shard.data.shape for shard in sharded.addressable_shards} == {(2, 1)}
    np.testing.assert_array_equal(jax.device_get(sharded), batch["x"])


@pytest.mark.parametrize("placement", ["jit", "sharded", "pmap"])
def test_seeds_share_a_compiled_program(placement):
    def loss(params, batch, key):
        noise = jax.random.normal(key, batch["x"].shape)
        return Sums(jnp.sum(params["w"][None] * (batch["x"] + noise)), jnp.float32(1), {})

    placed, optimizer = make_placement(placement), optax.sgd(0.1)
    like = jax.eval_shape(lambda: make_state({"w": jnp.zeros(3)}, optimizer))
    batch = {"x": jax.ShapeDtypeStruct((8, 3), jnp.float32)}
    programs = {
        placed.lower(loss, optimizer, jax.random.key(seed), like, batch).as_text()
        for seed in (0, 1)
    }
    assert len(programs) == 1


def test_the_memory_of_pmap_over_processes_is_refused():
    with pytest.raises(NotImplementedError, match="--max_bytes needs --placement=sharded"):
        Pmapped(2, 2).lower(None, optax.sgd(1.0), jax.random.key(0), None, None)
