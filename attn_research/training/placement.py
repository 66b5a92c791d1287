"""Placements of a training step: one device, a mesh of devices, or pmap, with the same result.

A placement shards the state and batches over devices, compiles a step for them, and gathers whole
arrays.
"""

import dataclasses
import math
from typing import Literal, Protocol, runtime_checkable

import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh

from attn_research.training.mesh import AXES, TensorRules, parse_mesh
from attn_research.training.pmapped import Pmapped
from attn_research.training.sharded import Sharded
from attn_research.training.step import (
    KeyedUpdate,
    Loss,
    Step,
    TrainState,
    make_gradients,
    make_update,
)
from attn_research.training.trainable import Trainable
from attn_research.types import Array, Key, PyTree


@runtime_checkable
class Placement(Protocol):
    """The devices of a run: sharding, gathering and compiling for them."""

    row_multiple: int  # the number of rows of a batch must be a multiple of this

    def rows(self, total: int) -> slice:
        """The rows of a batch that this process reads."""
        ...

    def shard_batch(self, batch: PyTree) -> PyTree:
        """The batch on its devices, from this process's rows."""
        ...

    def shard_state(self, state: TrainState) -> TrainState:
        """The state on its devices, from whole arrays."""
        ...

    def gather(self, tree: PyTree) -> PyTree:
        """A state, or a part of one, as whole arrays on one device of this process."""
        ...

    def compile(
        self,
        loss: Loss,
        optimizer: optax.GradientTransformation,
        key: Key[Array, ""],
        like: TrainState,
        *,
        trainable: Trainable | None = None,
    ) -> Step:
        """The compiled step for a state of the shapes `like`; it takes the old state's memory."""
        ...

    def lower(
        self,
        loss: Loss,
        optimizer: optax.GradientTransformation,
        key: Key[Array, ""],
        like: TrainState,
        batch: PyTree,
        *,
        trainable: Trainable | None = None,
    ) -> jax.stages.Lowered:
        """The lowered program of that step, from the shapes of a whole state and a whole batch."""
        ...


@dataclasses.dataclass(frozen=True)
class OneDevice:
    """The default device, with gradient accumulation over `num_microbatches`."""

    num_microbatches: int = 1

    @property
    def row_multiple(self) -> int:
        return self.num_microbatches

    def rows(self, total: int) -> slice:
        return slice(0, total)

    def shard_batch(self, batch: PyTree) -> PyTree:
        return batch

    def shard_state(self, state: TrainState) -> TrainState:
        return state

    def gather(self, tree: PyTree) -> PyTree:
        return tree

    def compile(self, loss, optimizer, key, like, *, trainable=None) -> Step:
        return self._update(loss, optimizer, trainable).step(key)

    def lower(self, loss, optimizer, key, like, batch, *, trainable=None) -> jax.stages.Lowered:
        return self._update(loss, optimizer, trainable).lower(like, batch, key)

    def _update(self, loss, optimizer, trainable):
        gradients = make_gradients(
            loss, num_microbatches=self.num_microbatches, trainable=trainable
        )
        update = make_update(gradients, optimizer, trainable=trainable)
        return KeyedUpdate(jax.jit(update, donate_argnums=0))


def make_placement(
    name: Literal["jit", "sharded", "pmap"],
    mesh: str = "",
    rules: TensorRules = (),
    num_microbatches: int = 1,
) -> Placement:
    """The placement by name on the available devices; ValueError where they do not fit.

    `mesh` is as "data=4,fsdp=2"; without it training is data parallel over all devices.
    """
    if name == "jit":
        if mesh:
            raise ValueError(f"--mesh={mesh} is for --placement=sharded or pmap, not jit")
        if jax.process_count() > 1:
            raise ValueError("several processes need --placement=sharded or pmap, not jit")
        return OneDevice(num_microbatches)
    devices = jax.devices()
    sizes = parse_mesh(mesh, len(devices))
    count = math.prod(sizes.values())
    if jax.process_count() > 1 and count != len(devices):
        raise ValueError(
            f"--mesh={mesh} has {count} devices, and the processes have {len(devices)}: "
            "with several processes use all"
        )
    if name == "pmap":
        if sizes["data"] != count:
            raise ValueError(
                f"--mesh={mesh}: pmap has the axis data alone; --placement=sharded has all"
            )
        return Pmapped(count // jax.process_count(), jax.process_count(), num_microbatches)
    if sizes["tensor"] > 1 < sizes["sequence"]:
        raise ValueError(f"--mesh={mesh}: tensor and sequence do not go together: give one of them")
    array = np.array(devices[:count]).reshape([sizes[axis] for axis in AXES])
    mesh_of_devices = Mesh(array, AXES, axis_types=(AxisType.Auto,) * len(AXES))
    return Sharded(mesh_of_devices, rules, num_microbatches)


def check_rows(batch: PyTree, placement: Placement) -> None:
    """A ValueError where devices and microbatches do not divide the rows of a batch evenly."""
    for leaf in jax.tree.leaves(batch):
        if leaf.shape[0] % placement.row_multiple:
            raise ValueError(
                f"a batch of {leaf.shape[0]} rows cannot be shared evenly by devices and "
                f"microbatches: make it a multiple of {placement.row_multiple}, or use fewer "
                "devices or a lower --num_microbatches"
            )
