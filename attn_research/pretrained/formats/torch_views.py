"""Views of PyTorch's storages: what a pickle of torch.save says of each tensor."""

import math
from collections import OrderedDict
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from jaxtyping import Shaped

from attn_research.pretrained.formats.binary import DAMAGED, checked_bytes
from attn_research.pretrained.formats.pickles import Unpicklable

_STORAGES = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool,
}


class Storage(NamedTuple):
    """A row of `count` values, which is kept under `key`."""

    key: str
    dtype: np.dtype
    count: int


class View(NamedTuple):
    """A tensor as a part of a storage; offset and strides count values."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def storage_of(persistent_id: Any) -> Storage:
    """The storage that a persistent id of a pickle names."""
    match persistent_id:
        case ("storage", np.dtype() as dtype, str(key), str(), int(count), *rest):
            if rest in ([], [None]) and count >= 0:  # a view of a storage, before version 0.4
                return Storage(key, dtype, count)
    raise Unpicklable("a persistent id that is no plain storage")


def _rebuild_tensor(storage, offset, shape, strides, requires_grad, hooks, metadata=None) -> View:
    if hooks or metadata:
        raise Unpicklable("a tensor with hooks, or conjugated or negated")
    return View(storage, offset, shape, strides)


def _rebuild_parameter(tensor, requires_grad, hooks) -> View:
    if hooks or not isinstance(tensor, View):
        raise Unpicklable("a parameter with hooks, or of no tensor")
    return tensor


# What the names in a pickle stand for. The values of the first two are functions of ours, so that
# neither PyTorch nor a class takes anything from the file.
KNOWN = {
    "collections.OrderedDict": lambda: OrderedDict(),
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    **{f"torch.{name}Storage": np.dtype(kind) for name, kind in _STORAGES.items()},
}


def check_view(view: Any, where: str) -> View:
    """The view, which lies within its storage and repeats no value; a ValueError otherwise.

    A view that repeats values (by a stride of 0) may be of any size, and none is in a checkpoint.
    """
    match view:
        case View(Storage(), int(offset), tuple(shape), tuple(strides)):
            numbers = (offset, *shape, *strides)
        case View():
            numbers = (None,)
        case _:
            raise ValueError(f"{where} is no tensor but of type {type(view).__name__}")
    whole = all(isinstance(number, int) and number >= 0 for number in numbers)
    if not whole or len(view.shape) != len(view.strides):
        raise ValueError(f"{where} has no valid shape, strides and offset: {DAMAGED}")
    checked_bytes(view.shape, view.storage.dtype, where)
    steps = zip(view.shape, view.strides, strict=True)
    last = view.offset + sum((size - 1) * stride for size, stride in steps)
    if 0 not in view.shape and last >= view.storage.count:
        raise ValueError(f"{where} leaves its storage of {view.storage.count:,}: {DAMAGED}")
    if math.prod(view.shape) > view.storage.count:
        raise ValueError(
            f"{where} repeats the values of its storage: write the file from contiguous tensors"
        )
    return view


def take_view(storage: Shaped[np.ndarray, "values"], view: View) -> Shaped[np.ndarray, "..."]:
    """The tensor of a checked view, as an array of its own."""
    if 0 in view.shape:
        return np.zeros(view.shape, view.storage.dtype)
    strides = [stride * storage.itemsize for stride in view.strides]
    found = np.lib.stride_tricks.as_strided(storage[view.offset :], view.shape, strides)
    return found.astype(view.storage.dtype)  # a copy, in this machine's byte order
