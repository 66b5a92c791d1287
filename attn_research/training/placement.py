"""Where a step runs: on one device, on a mesh of them, or mapped over them; its result is the same.

A placement lays a state and batches out over devices, compiles a step for them, and gives whole
arrays back. On a mesh each device takes its rows of a batch through the loss as if it were alone,
so that no part of a model has to know of others; what it adds to the gradient is summed, and the
state lives where `Layout` says. The axes of a mesh are

    data     devices that share a batch
    fsdp     devices that share a batch, and the state too: parameters are put together for a step
    tensor   devices that share the matrices of each layer, by the rules of a model
"""

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn_research.training.step import (
    Loss,
    Step,
    TrainState,
    make_gradients,
    make_update,
)
from attn_research.types import Array, Key, PyTree

AXES = ("data", "fsdp", "tensor")
SHARE_ROWS = ("data", "fsdp")
# Smaller arrays are not worth the message that puts them together.
FEW = 2**12

# (pattern of a parameter's path, axis of the mesh or None for each of its last dimensions)
TensorRules = Sequence[tuple[str, tuple[Literal["tensor"] | None, ...]]]


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
        update = make_update(make_gradients(loss, self.parts), optimizer, key)
        return jax.jit(update, donate_argnums=0)


@dataclasses.dataclass(frozen=True)
class Sharded:
    """A mesh of devices, of one process or several, with the axes data, fsdp and tensor."""

    mesh: Mesh
    rules: TensorRules = ()
    parts: int = 1

    @property
    def row_multiple(self) -> int:
        return self._shares * self.parts

    @property
    def _shares(self) -> int:
        return math.prod(self.mesh.shape[axis] for axis in SHARE_ROWS)

    @property
    def _by_row(self) -> NamedSharding:
        return NamedSharding(self.mesh, P(SHARE_ROWS))

    def rows(self, total: int) -> slice:
        mine = self._by_row.addressable_devices_indices_map((total,)).values()
        starts, stops = zip(*(index[0].indices(total)[:2] for index in mine), strict=True)
        return slice(min(starts), max(stops))

    def put(self, batch: PyTree) -> PyTree:
        make = functools.partial(jax.make_array_from_process_local_data, self._by_row)
        return jax.tree.map(lambda x: make(np.asarray(x)), batch)

    def lay_out(self, state: TrainState) -> TrainState:
        def lay(leaf, sharding):
            leaf = np.asarray(leaf)
            return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

        return jax.tree.map(lay, state, self.shardings(state))

    def whole(self, tree: PyTree) -> PyTree:
        together = jax.jit(lambda x: x, out_shardings=NamedSharding(self.mesh, P()))
        return jax.tree.map(lambda x: x.addressable_data(0), together(tree))

    def compile(self, loss, optimizer, key, like) -> Step:
        by_state, everywhere = self.shardings(like), NamedSharding(self.mesh, P())
        update = make_update(self._gradients(loss), optimizer, key)
        return jax.jit(
            update,
            in_shardings=(by_state, self._by_row),
            out_shardings=(by_state, everywhere),
            donate_argnums=0,
        )

    def shardings(self, tree: PyTree) -> PyTree:
        """Where each array of a tree lives."""
        return jax.tree.map(
            lambda spec: NamedSharding(self.mesh, spec), layout(tree, self.mesh.shape, self.rules)
        )

    def _gradients(self, loss):
        axes = tuple(axis for axis in SHARE_ROWS if self.mesh.shape[axis] > 1)
        of_share = make_gradients(loss, self.parts, axes)
        if not axes:
            return of_share

        def gradients(params, batch, key):
            # The axis that fsdp cuts of each array, or -1. What tensor cuts stays XLA's business.
            cut = jax.tree.map(
                lambda spec: spec.index("fsdp") if "fsdp" in spec else -1,
                layout(params, self.mesh.shape, self.rules),
            )

            def share(params, batch, key):
                def join(x, axis):
                    return x if axis < 0 else jax.lax.all_gather(x, "fsdp", axis=axis, tiled=True)

                whole = jax.tree.map(join, params, cut)
                gradient, sums = of_share(whole, batch, key)

                def add(x, axis):
                    if axis < 0:
                        return jax.lax.psum(x, axes)
                    x = jax.lax.psum_scatter(x, "fsdp", scatter_dimension=axis, tiled=True)
                    return jax.lax.psum(x, "data") if "data" in axes else x

                return jax.tree.map(add, gradient, cut), jax.lax.psum(sums, axes)

            by_parameter = jax.tree.map(
                lambda axis: P() if axis < 0 else P(*[None] * axis, "fsdp"), cut
            )
            shared = jax.shard_map(
                share,
                mesh=self.mesh,
                in_specs=(by_parameter, P(axes), P()),
                out_specs=(by_parameter, P()),
                axis_names=set(axes),
                check_vma=False,  # sums are taken by hand, above
            )
            return shared(params, batch, key)

        return gradients


@dataclasses.dataclass(frozen=True)
class Mapped:
    """`jax.pmap` over the devices of every process, each with a copy of the state."""

    num_devices: int  # of this process
    num_processes: int = 1
    parts: int = 1

    @property
    def row_multiple(self) -> int:
        return self.num_devices * self.num_processes * self.parts

    def rows(self, total: int) -> slice:
        share = total // self.num_processes
        return slice(jax.process_index() * share, (jax.process_index() + 1) * share)

    def put(self, batch: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.reshape(self.num_devices, -1, *x.shape[1:]), batch)

    def lay_out(self, state: TrainState) -> TrainState:
        mesh = Mesh(np.array(self._devices), ("data",))
        copies = NamedSharding(mesh, P("data"))

        def copy(leaf):
            leaf = np.asarray(leaf)
            shape = (self.num_devices, *leaf.shape)
            return jax.make_array_from_callback(shape, copies, lambda _: leaf[None])

        return jax.tree.map(copy, state)

    def whole(self, tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.addressable_data(0)[0], tree)

    def compile(self, loss, optimizer, key, like) -> Step:
        of_share = make_gradients(loss, self.parts, ("data",))

        def gradients(params, batch, key):
            return jax.lax.psum(of_share(params, batch, key), "data")

        update = make_update(gradients, optimizer, key)
        devices = None if self.num_processes > 1 else self._devices
        mapped = jax.pmap(update, "data", donate_argnums=0, devices=devices)

        def step(state, batch):
            state, metrics = mapped(state, batch)
            return state, self.whole(metrics)

        return step

    @property
    def _devices(self) -> list[jax.Device]:
        return jax.local_devices()[: self.num_devices]


def make_placement(
    name: Literal["jit", "sharded", "pmap"], mesh: str = "", rules: TensorRules = (), parts: int = 1
) -> Placement:
    """The named placement over the devices there are; ValueError where they do not fit.

    `mesh` is as "data=4,fsdp=2"; without it, all devices share the batch.
    """
    if name == "jit":
        if mesh:
            raise ValueError(f"--mesh={mesh} is for --placement=sharded or pmap, not jit")
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


def parse_mesh(text: str, num_devices: int) -> dict[str, int]:
    """Sizes of all axes from text as "data=4,fsdp=2"; what is left of the devices shares data."""
    sizes = {}
    for word in filter(None, text.split(",")):
        axis, equals, size = word.partition("=")
        if axis not in AXES:
            raise ValueError(f"--mesh={text}: no axis {axis!r}; there are {', '.join(AXES)}")
        if not equals or not size.isdecimal() or int(size) < 1 or axis in sizes:
            raise ValueError(f"--mesh={text}: give each axis one size, as in data=4,fsdp=2")
        sizes[axis] = int(size)
    others = math.prod(size for axis, size in sizes.items() if axis != "data")
    if "data" not in sizes:
        if num_devices % others:
            raise ValueError(
                f"--mesh={text}: {others} does not divide the {num_devices} devices there are"
            )
        sizes["data"] = num_devices // others
    if (needed := sizes["data"] * others) > num_devices:
        raise ValueError(
            f"--mesh={text} needs {needed} devices, and there are {num_devices}"
            " (on a CPU XLA_FLAGS=--xla_force_host_platform_device_count=N makes more)"
        )
    return {axis: sizes.get(axis, 1) for axis in AXES}


def check_rows(batch: PyTree, placement: Placement) -> None:
    """ValueError where the rows of a batch cannot be shared evenly."""
    for leaf in jax.tree.leaves(batch):
        if leaf.shape[0] % placement.row_multiple:
            raise ValueError(
                f"a batch of {leaf.shape[0]} rows cannot be shared evenly by devices and parts: "
                f"make it a multiple of {placement.row_multiple}, or give fewer of them"
            )


def layout(tree: PyTree, sizes: dict[str, int], rules: TensorRules) -> PyTree:
    """The axes of a mesh that cut each array of a tree, as partition specs.

    The first rule whose pattern is found in an array's path says what tensor cuts, where that
    divides it; fsdp cuts the longest dimension left that it divides. Arrays of an optimizer are
    cut as the parameters they belong to, whose paths they contain.
    """
    paths = jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/"), tree
    )
    specs = jax.tree.map(lambda path, leaf: _spec(path, leaf.shape, sizes, rules), paths, tree)
    if sizes["tensor"] > 1 and not any("tensor" in spec for spec in jax.tree.leaves(specs)):
        raise ValueError(
            f"--mesh has tensor={sizes['tensor']}, and that divides no matrix of this model: "
            "give another size, or 1"
        )
    return specs


def _spec(path: str, shape: tuple[int, ...], sizes: dict[str, int], rules: TensorRules) -> P:
    axes: list[str | None] = [None] * len(shape)
    for pattern, cut in rules:
        if sizes["tensor"] > 1 and len(cut) <= len(shape) and re.search(pattern, path):
            for place, axis in enumerate(cut, len(shape) - len(cut)):
                if axis and shape[place] % sizes[axis] == 0:
                    axes[place] = axis
            break
    if sizes["fsdp"] > 1 and math.prod(shape) >= FEW:
        free = [i for i, axis in enumerate(axes) if axis is None and shape[i] % sizes["fsdp"] == 0]
        if free:
            axes[max(free, key=lambda i: shape[i])] = "fsdp"
    return P(*axes)
