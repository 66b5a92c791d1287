"""Trainable and frozen parameters: the split of a tree into two, and their merge."""

from collections.abc import Callable

import jax

from attn_research.trees import named_leaves
from attn_research.types import PyTree

# Of the path of a parameter, its keys from the root of the tree joined by "/": whether to train it.
Trainable = Callable[[str], bool]


def split(params: PyTree, trainable: Trainable | None) -> tuple[PyTree, PyTree]:
    """The trainable and the frozen parameters, each with None in place of the other's.

    None is a tree without leaves, so gradients and optimizer states of the trainable tree have no
    arrays for frozen parameters, and keep the paths of the others. Without a rule everything is
    trainable. A rule that makes nothing trainable is a ValueError.
    """
    if trainable is None:
        return params, jax.tree.map(lambda _: None, params)
    leaves, treedef = jax.tree.flatten(params)
    paths = list(named_leaves(params))
    chosen = [trainable(path) for path in paths]
    if not any(chosen):
        raise ValueError(
            f"the rule {_name(trainable)} makes no parameter trainable: it is true of none of the "
            f"{len(paths)} paths (such as {', '.join(paths[:2])}); give a rule that is true of some"
        )
    halves = (
        [leaf if wanted == side else None for leaf, wanted in zip(leaves, chosen, strict=True)]
        for side in (True, False)
    )
    return tuple(treedef.unflatten(half) for half in halves)


def merge(trainable: PyTree, frozen: PyTree) -> PyTree:
    """The whole tree of two that `split` returned."""
    return jax.tree.map(
        lambda new, old: old if new is None else new,
        trainable,
        frozen,
        is_leaf=lambda node: node is None,
    )


def _name(rule: Trainable) -> str:
    return getattr(rule, "__qualname__", repr(rule))
