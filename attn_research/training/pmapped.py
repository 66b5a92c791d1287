"""Steps mapped over devices by `jax.pmap`, each with a copy of the state."""

import dataclasses

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn_research.training.step import (
    Step,
    TrainState,
    key_words,
    make_gradients,
    make_update,
    of_key,
)
from attn_research.types import PyTree


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
        mapped = of_key(self._map(loss, optimizer), key)

        def step(state, batch):
            state, metrics = mapped(state, batch)
            return state, self.whole(metrics)

        return step

    def lower(self, loss, optimizer, key, like, batch) -> jax.stages.Lowered:
        if self.num_processes > 1:
            raise NotImplementedError(
                "what pmap over several processes needs is not known before it runs: "
                "--max_bytes needs --placement=sharded"
            )
        n = self.num_devices

        def shape(x, *shape):
            return jax.ShapeDtypeStruct(shape, x.dtype)

        state = jax.tree.map(lambda x: shape(x, n, *x.shape), like)
        rows = jax.tree.map(lambda x: shape(x, n, x.shape[0] // n, *x.shape[1:]), batch)
        return self._map(loss, optimizer).lower(state, rows, key_words(key))

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
