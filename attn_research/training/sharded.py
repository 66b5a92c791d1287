"""FSDP, tensor, sequence and data parallel training on a mesh of devices.

Each device computes the loss of its rows of a batch as if it were alone, so that models need no
code for several devices. Gradients are summed over devices, and `partition_specs` shards the state.
XLA alone divides what the axes tensor and sequence do, but for attention over the latter.
"""

import dataclasses
import functools
import math

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn_research.attention.backends.divided import num_traced
from attn_research.training.mesh import BATCH_AXES, TensorRules, partition_specs
from attn_research.training.step import KeyedUpdate, Step, TrainState, make_gradients, make_update
from attn_research.training.trainable import split
from attn_research.types import PyTree


@dataclasses.dataclass(frozen=True)
class Sharded:
    """A mesh of devices, of one process or several, with the axes of `mesh.AXES`."""

    mesh: Mesh
    rules: TensorRules = ()
    num_microbatches: int = 1

    @property
    def row_multiple(self) -> int:
        return self._num_batch_shards * self.num_microbatches

    @property
    def _num_batch_shards(self) -> int:
        return math.prod(self.mesh.shape[axis] for axis in BATCH_AXES)

    @property
    def _by_row(self) -> NamedSharding:
        return NamedSharding(self.mesh, P(BATCH_AXES))

    def rows(self, total: int) -> slice:
        mine = self._by_row.addressable_devices_indices_map((total,)).values()
        starts, stops = zip(*(index[0].indices(total)[:2] for index in mine), strict=True)
        return slice(min(starts), max(stops))

    def shard_batch(self, batch: PyTree) -> PyTree:
        make = functools.partial(jax.make_array_from_process_local_data, self._by_row)
        return jax.tree.map(lambda x: make(np.asarray(x)), batch)

    def shard_state(self, state: TrainState) -> TrainState:
        def shard(leaf, sharding):
            leaf = np.asarray(leaf)
            return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

        return jax.tree.map(shard, state, self.shardings(state))

    def gather(self, tree: PyTree) -> PyTree:
        replicate = jax.jit(_identity, out_shardings=NamedSharding(self.mesh, P()))
        return jax.tree.map(lambda x: x.addressable_data(0), replicate(tree))

    def compile(self, loss, optimizer, key, like, *, trainable=None) -> Step:
        return self._update(loss, optimizer, like, trainable).step(key)

    def lower(self, loss, optimizer, key, like, batch, *, trainable=None) -> jax.stages.Lowered:
        return self._update(loss, optimizer, like, trainable).lower(like, batch, key)

    def _update(self, loss, optimizer, like, trainable):
        state_sharding, replicated = self.shardings(like), NamedSharding(self.mesh, P())
        update = make_update(self._gradients(loss, trainable), optimizer, trainable=trainable)
        shardings = dict(
            in_shardings=(state_sharding, self._by_row, replicated),
            out_shardings=(state_sharding, replicated),
        )
        return KeyedUpdate(jax.jit(update, **shardings, donate_argnums=0))

    def shardings(self, tree: PyTree) -> PyTree:
        """The sharding of each array of a tree."""
        return jax.tree.map(
            lambda spec: NamedSharding(self.mesh, spec),
            partition_specs(tree, self.mesh.shape, self.rules),
        )

    def _gradients(self, loss, trainable):
        # With all of them attention finds the axis sequence, which stays XLA's, in its context.
        every = self.mesh.shape["sequence"] > 1
        axes = tuple(axis for axis in BATCH_AXES if every or self.mesh.shape[axis] > 1)
        local_gradients = make_gradients(
            loss, num_microbatches=self.num_microbatches, axes=axes, trainable=trainable
        )
        if not axes:
            return local_gradients

        def gradients(params, batch, key):
            # The axis of each array that fsdp shards, or -1.
            fsdp_axes = jax.tree.map(
                lambda spec: spec.index("fsdp") if "fsdp" in spec else -1,
                partition_specs(params, self.mesh.shape, self.rules),
            )

            def reduced_gradients(params, batch, key):
                def gather(x, axis):
                    return x if axis < 0 else jax.lax.all_gather(x, "fsdp", axis=axis, tiled=True)

                whole = jax.tree.map(gather, params, fsdp_axes)
                gradient, sums = local_gradients(whole, batch, key)

                def reduce(x, axis):
                    if axis < 0:
                        return jax.lax.psum(x, axes)
                    x = jax.lax.psum_scatter(x, "fsdp", scatter_dimension=axis, tiled=True)
                    return jax.lax.psum(x, "data") if "data" in axes else x

                learned_axes, _ = split(fsdp_axes, trainable)
                return jax.tree.map(reduce, gradient, learned_axes), jax.lax.psum(sums, axes)

            param_specs = jax.tree.map(
                lambda axis: P() if axis < 0 else P(*[None] * axis, "fsdp"), fsdp_axes
            )
            sharded_gradients = jax.shard_map(
                reduced_gradients,
                mesh=self.mesh,
                in_specs=(param_specs, P(axes), P()),
                out_specs=(split(param_specs, trainable)[0], P()),
                axis_names=set(axes),
                check_vma=False,  # the sums over devices are explicit, above
            )
            before = num_traced()
            found = sharded_gradients(params, batch, key)
            if every and num_traced() == before:
                raise ValueError(
                    f"--mesh has sequence={self.mesh.shape['sequence']}, and this model has no "
                    "attention that a ring computes: give another axis"
                )
            return found

        return gradients


def _identity(tree):
    return tree  # a function of the module, so that jit finds what it compiled before
