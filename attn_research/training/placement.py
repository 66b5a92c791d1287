"""Where a step runs: on one device, on a mesh of them, or mapped over them; its result is the same.

A placement lays a state and batches out over devices, compiles a step for them, and gives whole
arrays back. On a mesh each device takes its rows of a batch through the loss as if it were alone,
so that no part of a model has to know of others; what it adds to the gradient is summed, and the
state lives where `layout` says.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn_research.training.mesh import AXES, SHARE_ROWS, TensorRules, layout, parse_mesh
from attn_research.training.step import (
    Loss,
    Step,
    TrainState,
    make_gradients,
    make_update,
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
        return _of_key(self._step(loss, optimizer), key)

    def lower(self, loss, optimizer, key, like, batch) -> jax.stages.Lowered:
        return self._step(loss, optimizer).lower(like, batch, _words(key))

    def _step(self, loss, optimizer):
        update = make_update(make_gradients(loss, self.parts), optimizer)
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
        together = jax.jit(_same, out_shardings=NamedSharding(self.mesh, P()))
        return jax.tree.map(lambda x: x.addressable_data(0), together(tree))

    def compile(self, loss, optimizer, key, like) -> Step:
        return _of_key(self._step(loss, optimizer, like), key)

    def lower(self, loss, optimizer, key, like, batch) -> jax.stages.Lowered:
        return self._step(loss, optimizer, like).lower(like, batch, _words(key))

    def _step(self, loss, optimizer, like):
        by_state, everywhere = self.shardings(like), NamedSharding(self.mesh, P())
        update = make_update(self._gradients(loss), optimizer)
        return jax.jit(
            update,
            in_shardings=(by_state, self._by_row, everywhere),
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
        mapped = _of_key(self._map(loss, optimizer), key)

        def step(state, batch):
            state, metrics = mapped(state, batch)
            return state, self.whole(metrics)

        return step

    def lower(self, loss, optimizer, key, like, batch) -> jax.stages.Lowered:
        n = self.num_devices

        def shape(x, *shape):
            return jax.ShapeDtypeStruct(shape, x.dtype)

        state = jax.tree.map(lambda x: shape(x, n, *x.shape), like)
        rows = jax.tree.map(lambda x: shape(x, n, x.shape[0] // n, *x.shape[1:]), batch)
        return self._map(loss, optimizer).lower(state, rows, _words(key))

    def _map(self, loss, optimizer):
        update = make_update(self._gradients(loss), optimizer)
        devices = None if self.num_processes > 1 else self._devices
        return jax.pmap(update, "data", in_axes=(0, 0, None), donate_argnums=0, devices=devices)

    def _gradients(self, loss):
        of_share = make_gradients(loss, self.parts, ("data",))
        return lambda *arguments: jax.lax.psum(of_share(*arguments), "data")

    @property
    def _devices(self) -> list[jax.Device]:
        return jax.local_devices()[: self.num_devices]


def _words(key: Key[Array, ""]) -> np.ndarray:
    return np.asarray(jax.random.key_data(key))  # of no device, for steps of several processes


def _of_key(update: Callable[..., Any], key: Key[Array, ""]) -> Step:
    words = _words(key)
    return lambda state, batch: update(state, batch, words)


def _same(tree):
    return tree  # one function, so that jit knows it again


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
