"""Tables of tensor names: which leaf of our parameter tree a published tensor is, both ways."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from einops import rearrange

LAYER = "{layer}"  # in a name: the number of the block, whose leaves are stacked
FLOATS = "float16", "bfloat16", "float32", "float64"
Shapes = Mapping[str, tuple[int, ...]]


class Name(NamedTuple):
    """A tensor, and the leaf or leaves that it holds, side by side along the last axis of theirs.

    A tensor is `transposed` where its rows are outputs, as in PyTorch's linear layers. Where the
    axes of a tensor are others than those of its one leaf, `axes` has the pattern of einops from
    the tensor to the leaf, and `lengths` those of axes that the leaf joins.
    """

    tensor: str
    leaves: tuple[str, ...]
    transposed: bool = False
    axes: str | None = None
    lengths: tuple[tuple[str, int], ...] = ()

    def to_leaf(self, tensor: np.ndarray) -> np.ndarray:
        """A tensor in the layout of the leaves."""
        if self.axes is not None:
            return rearrange(tensor, self.axes, **dict(self.lengths))
        return tensor.T if self.transposed else tensor

    def to_tensor(self, leaf: np.ndarray) -> np.ndarray:
        """An array of the leaves in the layout of the tensor."""
        if self.axes is not None:
            start, end = self.axes.split("->")
            return rearrange(leaf, f"{end} -> {start}", **dict(self.lengths))
        return leaf.T if self.transposed else leaf


def linear(tensor: str, path: str) -> tuple[Name, ...]:
    """A linear layer [out, in]."""
    return Name(f"{tensor}.weight", (f"{path}/kernel",), True), Name(
        f"{tensor}.bias", (f"{path}/bias",)
    )


def fused(tensor: str, *paths: str) -> tuple[Name, ...]:
    """Linear layers [in, out] in one: `Conv1D` of GPT-2, for queries, keys and values."""
    kernels, biases = (tuple(f"{path}/{kind}" for path in paths) for kind in ("kernel", "bias"))
    return Name(f"{tensor}.weight", kernels), Name(f"{tensor}.bias", biases)


def patches(tensor: str, path: str, size: int) -> tuple[Name, ...]:
    """A linear map of square patches, stored as a convolution [out, channels, side, side]."""
    axes, lengths = "d c p q -> (p q c) d", (("p", size), ("q", size))
    weight = Name(f"{tensor}.weight", (f"{path}/kernel",), axes=axes, lengths=lengths)
    return weight, Name(f"{tensor}.bias", (f"{path}/bias",))


def matrix(tensor: str, path: str) -> tuple[Name, ...]:
    """A linear layer [out, in] without bias."""
    return (Name(f"{tensor}.weight", (f"{path}/kernel",), transposed=True),)


def norm(tensor: str, path: str) -> tuple[Name, ...]:
    """A layer norm, or one without bias."""
    return Name(f"{tensor}.weight", (f"{path}/scale",)), Name(f"{tensor}.bias", (f"{path}/bias",))


def embedding(tensor: str, path: str) -> tuple[Name, ...]:
    """A table of vectors."""
    return (Name(f"{tensor}.weight", (path,)),)


def present(table: Sequence[Name], shapes: Shapes) -> list[Name]:
    """The names of a table whose leaves the network has. ValueError for a leaf without a name."""
    found = [name for name in table if name.leaves[0] in shapes]
    nameless = set(shapes) - {leaf for name in found for leaf in name.leaves}
    if nameless:
        raise ValueError(f"the format has no tensor for the parameter {min(nameless)}")
    return found


def numbered(name: Name, shapes: Shapes, most: int | None = None) -> list[str]:
    """The tensors of a name: one for each block, or for the first `most`, or the one there is."""
    if LAYER not in name.tensor:
        return [name.tensor]
    num_layers = shapes[name.leaves[0]][0]
    count = num_layers if most is None else min(num_layers, most)
    return [name.tensor.replace(LAYER, str(number)) for number in range(count)]


def to_leaves(
    names: Sequence[Name],
    shapes: Shapes,
    tensors: Mapping[str, np.ndarray],
    *,
    source: Mapping[str, str],
    dtype: Any,
) -> dict[str, np.ndarray]:
    """The leaves by path; `source` has the tensors' own names by those of the table.

    ValueError for a tensor of another shape, or not of floats.
    """
    leaves = {}
    for name in names:
        expected = _shape_of_tensor(name, shapes)
        ends = np.cumsum([shapes[leaf][-1] for leaf in name.leaves])[:-1]
        for place, canonical in _places(name, shapes):
            tensor = source[canonical]
            array = np.asarray(tensors[tensor])
            if array.dtype.name not in FLOATS:
                raise ValueError(f"tensor {tensor} is of {array.dtype}: floats are needed")
            if array.shape != expected:
                raise ValueError(
                    f"tensor {tensor} has shape {array.shape}, and the config asks for {expected}"
                )
            parts = np.split(name.to_leaf(array), ends, axis=-1)
            for leaf, part in zip(name.leaves, parts, strict=True):
                # Room is made for what is there alone: a config may ask for anything.
                if leaf not in leaves:
                    leaves[leaf] = np.empty(shapes[leaf], dtype)
                leaves[leaf][place] = part
    return leaves


def to_tensors(names: Sequence[Name], leaves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors by name, of our leaves by path."""
    shapes = {path: leaf.shape for path, leaf in leaves.items()}
    tensors = {}
    for name in names:
        for place, tensor in _places(name, shapes):
            array = np.concatenate([leaves[leaf][place] for leaf in name.leaves], axis=-1)
            tensors[tensor] = np.array(name.to_tensor(array), order="C")
    return tensors


def _places(name: Name, shapes: Shapes) -> list[tuple[Any, str]]:
    """The place of each tensor in the leaves, which is the number of the block or all of them."""
    if LAYER not in name.tensor:
        return [(..., name.tensor)]
    return list(enumerate(numbered(name, shapes)))


def _shape_of_tensor(name: Name, shapes: Shapes) -> tuple[int, ...]:
    """The shape of the tensor, or of each of the blocks."""
    parts = [shapes[leaf][1:] if LAYER in name.tensor else shapes[leaf] for leaf in name.leaves]
    joined = *parts[0][:-1], sum(part[-1] for part in parts)
    # Strides of 0: no memory, whatever a config asks for.
    return name.to_tensor(np.broadcast_to(np.float32(0), joined)).shape
