"""Structures of pytrees: equal for equal classes and statics alone."""

import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attn_research
from attn_research.attention import (
    Causal,
    Dense,
    Dot,
    Full,
    General,
    Padding,
    ScaledDot,
    Window,
)

ARRAY = jnp.ones((2, 2))
NODES = [
    Dot(), ScaledDot(), Causal(), Full(), General(ARRAY), Padding(ARRAY > 0), Dense(ARRAY > 0),
    Window(1, 2), Window(2, 1), Causal() & Window(1, 2), Causal() | Window(1, 2), ~Causal(),
]  # fmt: skip


def test_pytree_classes_have_distinct_structures():
    for one, other in itertools.combinations(NODES, 2):
        assert jax.tree.structure(one) != jax.tree.structure(other), (one, other)
    for node in NODES:
        again = jax.tree.map(lambda x: x, node)
        assert type(again) is type(node)
        assert jax.tree.structure(again) == jax.tree.structure(node)
        assert hash(jax.tree.structure(again)) == hash(jax.tree.structure(node))


def test_leaves_have_the_names_of_fields():
    ((path, leaf),) = jax.tree_util.tree_leaves_with_path(General(ARRAY))
    assert jax.tree_util.keystr(path) == ".weight" and leaf is ARRAY


def test_static_fields_are_not_leaves():
    leaves, structure = jax.tree.flatten(Window(1, 2))
    assert leaves == [] and structure.unflatten([]) == Window(1, 2)
    with pytest.raises(ValueError, match="neither is negative"):
        Window(-1, 2)


def test_jit_distinguishes_pytree_classes():
    query, key = jnp.ones((1, 1, 1, 4)), jnp.ones((1, 2, 1, 4))
    score = jax.jit(lambda score: score(query, key).ravel())
    for _ in range(3):
        np.testing.assert_array_equal(score(Dot()), [4, 4])
        np.testing.assert_array_equal(score(ScaledDot()), [2, 2])


def test_only_trees_registers_dataclasses():
    root = pathlib.Path(attn_research.__file__).parent
    users = [path.name for path in root.rglob("*.py") if "register_dataclass" in path.read_text()]
    assert users == ["trees.py"]
