"""Loop carries that start as constants, inside `jax.shard_map` as well."""

from typing import Any

import jax
from jax import core, lax

from attn_research.types import PyTree


def varying_axes(*trees: PyTree) -> tuple[Any, ...]:
    """The manual mesh axes over which some array of the trees differs between devices."""
    found = set()
    for leaf in jax.tree.leaves(trees):
        aval = leaf if isinstance(leaf, core.ShapedArray) else jax.typeof(leaf)
        # JAX has renamed the attribute.
        axes = getattr(aval, "manual_axis_type", None)
        found |= set(aval.vma if axes is None else axes.varying)
    return tuple(sorted(found, key=str))


def vary_as(tree: PyTree, *references: PyTree) -> PyTree:
    """The tree, whose arrays vary over every manual mesh axis that the references vary over.

    `jax.shard_map` demands of a loop that its carry does so before the first step as after it.
    """
    axes = varying_axes(tree, *references)
    if not axes:
        return tree

    def cast(leaf: Any) -> Any:
        missing = tuple(axis for axis in axes if axis not in varying_axes(leaf))
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(cast, tree)
