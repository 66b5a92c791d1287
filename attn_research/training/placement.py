"""Where a step runs: on one device, on a mesh of them, or mapped over them; its result is the same.

A placement lays a state and batches out over devices, compiles a step for them, and gives whole
arrays back.
"""

import dataclasses
import math
from typing import Literal, Protocol, runtime_checkable

import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh

from attn_research.training.mesh import AXES, TensorRules, parse_mesh
from attn_research.training.pmapped import Mapped
from attn_research.training.sharded import Sharded
from attn_research.training.step import (
    Loss,
    Step,
    TrainState,
    key_words,
    make_gradients,
    make_update,
    of_key,
)
from attn_research.types import Array, Key, PyTree


@runtime_checkable
class Placement(Protocol):
    """What a run needs to know of devices."""

    row_multiple: int  # the rows of a batch must be a multiple of this

    def rows(self, total: int) -> slice:
        """Which rows of a batch this process reads."""
        ...

    def put(self, batch: PyTree) -> PyTree:
        """A batch on its devices, from this process's rows."""
        ...

    def lay_out(self, state: TrainState) -> TrainState:
        """A state on its devices, from whole arrays."""
        ...

    def whole(self, tree: PyTree) -> PyTree:
        """A state, or a part of one, as whole arrays of one device of this process."""
        ...

    def compile(
        self,
        loss: Loss,
        optimizer: optax.GradientTransformation,
        key: Key[Array, ""],
        like: TrainState,
    ) -> Step:
        """The step for a state of the shapes `like`; it takes the old state's memory."""
        ...

    def lower(
        self,
        loss: Loss,
        optimizer: optax.GradientTransformation,
        key: Key[Array, ""],
        like: TrainState,
        batch: PyTree,
    ) -> jax.stages.Lowered:
        """The program of that step, from the shapes of a whole state and a whole batch."""
        ...


@dataclasses.dataclass(frozen=True)
class OneDevice:
    """The default device, and `parts` of a batch after one another."""

    parts: int = 1

    @property
    def row_multiple(self) -> int:
        return self.parts

    def rows(self, total: int) -> slice:
        return slice(0, total)

    def put(self, batch: PyTree) -> PyTree:
        return batch

    def lay_out(self, state: TrainState) -> TrainState:
        return state

    def whole(self, tree: PyTree) -> PyTree:
        return tree

    def compile(self, loss, optimizer, key, like) -> Step:
        return of_key(self._step(loss, optimizer), key)

    def lower(self, loss, optimizer, key, like, batch) -> jax.stages.Lowered:
        return self._step(loss, optimizer).lower(like, batch, key_words(key))

    def _step(self, loss, optimizer):
        update = make_update(make_gradients(loss, self.parts), optimizer)
        return jax.jit(update, donate_argnums=0)


def make_placement(
    name: Literal["jit", "sharded", "pmap"], mesh: str = "", rules: TensorRules = (), parts: int = 1
) -> Placement:
    """The named placement over the devices there are; ValueError where they do not fit.

    `mesh` is as "data=4,fsdp=2"; without it, all devices share the batch.
    """
    if name == "jit":
        if mesh:
            raise ValueError(f"--mesh={mesh} is for --placement=sharded or pmap, not jit")
        if jax.process_count() > 1:
            raise ValueError("several processes need --placement=sharded or pmap, not jit")
        return OneDevice(parts)
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
        return Mapped(count // jax.process_count(), jax.process_count(), parts)
    array = np.array(devices[:count]).reshape([sizes[axis] for axis in AXES])
    return Sharded(Mesh(array, AXES, axis_types=(AxisType.Auto,) * len(AXES)), rules, parts)


def check_rows(batch: PyTree, placement: Placement) -> None:
    """ValueError where the rows of a batch cannot be shared evenly."""
    for leaf in jax.tree.leaves(batch):
        if leaf.shape[0] % placement.row_multiple:
            raise ValueError(
                f"a batch of {leaf.shape[0]} rows cannot be shared evenly by devices and parts: "
                f"make it a multiple of {placement.row_multiple}, or give fewer of them"
            )
