"""Pytrees: dataclasses whose structures differ where their classes do, and leaves by path."""

import dataclasses
from typing import Any, TypeVar

import jax
from jax.tree_util import GetAttrKey

from attn_research.types import PyTree

Class = TypeVar("Class", bound=type)


def pytree(cls: Class) -> Class:
    """Registration of a dataclass: fields are leaves, or static where their metadata says so.

    `jax.tree_util.register_dataclass` registers too, but structures of two of its classes compare
    equal if their fields do. As their hashes differ, a compiled function mostly distinguishes
    `Dot()` from `ScaledDot()`; where it does not, it silently computes one for the other.
    """
    fields = dataclasses.fields(cls)
    static = [field.name for field in fields if field.metadata.get("static")]
    leaves = [field.name for field in fields if not field.metadata.get("static")]

    def values_of(node: Any) -> tuple:
        return tuple(getattr(node, name) for name in static)

    def flatten(node: Any) -> tuple[list, tuple]:
        return [getattr(node, name) for name in leaves], values_of(node)

    def flatten_with_keys(node: Any) -> tuple[list, tuple]:
        return [(GetAttrKey(name), getattr(node, name)) for name in leaves], values_of(node)

    def unflatten(values: tuple, children: Any) -> Any:
        return cls(
            **dict(zip(static, values, strict=True)), **dict(zip(leaves, children, strict=True))
        )

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """The leaves by path: the keys from the root, joined by "/"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
