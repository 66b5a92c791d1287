"""Device meshes and the partition specs of a train state. The axes of a mesh are

data     data parallel: splits the batch
fsdp     fully sharded data parallel: splits the batch and the train state; steps gather parameters
tensor   tensor parallel: splits the matrices of each layer, by the rules of a model
sequence sequence parallel: splits the tokens of each text, between which attention is a ring
"""

import math
import re
from collections.abc import Sequence
from typing import Literal

import jax
from jax.sharding import PartitionSpec as P

from attn_research.trees import named_leaves
from attn_research.types import PyTree

AXES = ("data", "fsdp", "tensor", "sequence")
BATCH_AXES = ("data", "fsdp")
# Gathering smaller arrays costs more than sharding them saves.
MIN_FSDP_SIZE = 2**12

# (pattern of a parameter's path, axis of the mesh or None for each of its last dimensions)
TensorRules = Sequence[tuple[str, tuple[Literal["tensor"] | None, ...]]]


def mesh_size(text: str) -> int:
    """The number of devices of a mesh such as "data=4,fsdp=2"; axes it leaves out have 1."""
    return math.prod(_sizes(text).values())


def parse_mesh(text: str, num_devices: int) -> dict[str, int]:
    """The sizes of all axes from text such as "data=4,fsdp=2"; remaining devices go to data."""
    sizes = _sizes(text)
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


def _sizes(text: str) -> dict[str, int]:
    sizes = {}
    for word in filter(None, text.split(",")):
        axis, equals, size = word.partition("=")
        if axis not in AXES:
            raise ValueError(f"--mesh={text}: no axis {axis!r}; there are {', '.join(AXES)}")
        if not equals or not size.isdecimal() or int(size) < 1 or axis in sizes:
            raise ValueError(f"--mesh={text}: give each axis one size, as in data=4,fsdp=2")
        sizes[axis] = int(size)
    return sizes


def partition_specs(tree: PyTree, sizes: dict[str, int], rules: TensorRules) -> PyTree:
    """The partition spec of each array of a tree.

    The first rule whose pattern is found in an array's path gives the dimensions that tensor
    shards, where its size divides them; fsdp shards the longest other dimension that its size
    divides. Arrays of an optimizer are sharded as their parameters, whose paths they contain.
    """
    specs = jax.tree.structure(tree).unflatten(
        [_spec(path, leaf.shape, sizes, rules) for path, leaf in named_leaves(tree).items()]
    )
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
    if sizes["fsdp"] > 1 and math.prod(shape) >= MIN_FSDP_SIZE:
        free = [i for i, axis in enumerate(axes) if axis is None and shape[i] % sizes["fsdp"] == 0]
        if free:
            axes[max(free, key=lambda i: shape[i])] = "fsdp"
    return P(*axes)
