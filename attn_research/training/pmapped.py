"""Data-parallel training by `jax.pmap`, with a copy of the state on every device."""

import dataclasses

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn_research.training.step import KeyedUpdate, Step, TrainState, make_gradients, make_update
from attn_research.types import PyTree


@dataclasses.dataclass(frozen=True)
class Pmapped:
    """`jax.pmap` over the devices of every process, with replicated state."""

    num_devices: int  # of this process
    num_processes: int = 1
    num_microbatches: int = 1

    @property
    def row_multiple(self) -> int:
        return self.num_devices * self.num_processes * self.num_microbatches

    def rows(self, total: int) -> slice:
        num_rows, index = total // self.num_processes, jax.process_index()
        return slice(index * num_rows, (index + 1) * num_rows)

    def shard_batch(self, batch: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.reshape(self.num_devices, -1, *x.shape[1:]), batch)

    def shard_state(self, state: TrainState) -> TrainState:
        mesh = Mesh(np.array(self._devices), ("data",))
        copies = NamedSharding(mesh, P("data"))

        def copy(leaf):
            leaf = np.asarray(leaf)
            shape = (self.num_devices, *leaf.shape)
            return jax.make_array_from_callback(shape, copies, lambda _: leaf[None])

        return jax.tree.map(copy, state)

    def gather(self, tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.addressable_data(0)[0], tree)

    def compile(self, loss, optimizer, key, like, *, trainable=None) -> Step:
        mapped = self._map(loss, optimizer, trainable).step(key)

        def step(state, batch):
            state, metrics = mapped(state, batch)
            return state, self.gather(metrics)

        return step

    def lower(self, loss, optimizer, key, like, batch, *, trainable=None) -> jax.stages.Lowered:
        if self.num_processes > 1:
            raise NotImplementedError(
                "the memory that pmap needs over several processes is not known before it runs: "
                "--max_bytes needs --placement=sharded"
            )
        n = self.num_devices

        def shape(x, *shape):
            return jax.ShapeDtypeStruct(shape, x.dtype)

        state = jax.tree.map(lambda x: shape(x, n, *x.shape), like)
        rows = jax.tree.map(lambda x: shape(x, n, x.shape[0] // n, *x.shape[1:]), batch)
        return self._map(loss, optimizer, trainable).lower(state, rows, key)

    def _map(self, loss, optimizer, trainable):
        update = make_update(self._gradients(loss, trainable), optimizer, trainable=trainable)
        devices = None if self.num_processes > 1 else self._devices
        axes = dict(axis_name="data", in_axes=(0, 0, None))
        return KeyedUpdate(jax.pmap(update, **axes, donate_argnums=0, devices=devices))

    def _gradients(self, loss, trainable):
        local_gradients = make_gradients(
            loss, num_microbatches=self.num_microbatches, axes=("data",), trainable=trainable
        )
        return lambda *arguments: jax.lax.psum(local_gradients(*arguments), "data")

    @property
    def _devices(self) -> list[jax.Device]:
        return jax.local_devices()[: self.num_devices]
