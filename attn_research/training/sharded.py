"""Steps on a mesh of devices.

Each device takes its rows of a batch through the loss as if it were alone, so that no part of a
model has to know of others; what it adds to the gradient is summed, and the state lives where
`layout` says.
"""

import dataclasses
import functools
import math

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn_research.training.mesh import SHARE_ROWS, TensorRules, layout
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
        return of_key(self._step(loss, optimizer, like), key)

    def lower(self, loss, optimizer, key, like, batch) -> jax.stages.Lowered:
        return self._step(loss, optimizer, like).lower(like, batch, key_words(key))

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


def _same(tree):
    return tree  # one function, so that jit knows it again
