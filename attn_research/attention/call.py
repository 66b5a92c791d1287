"""A call of attention, the value that every implementation takes, and its result."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention.masks import Full, Mask, Real
from attn_research.attention.normalizers import Dropout, softmax
from attn_research.attention.positions import Positions
from attn_research.attention.scores import ScaledDot
from attn_research.loops import vary_as
from attn_research.trees import pytree
from attn_research.types import Array, Float, PyTree, Shaped


class Attended(NamedTuple):
    """The context, and the weights before dropout where they were captured."""

    context: Float[Array, "*B T N Hv"]
    weights: Float[Array, "*B N T S"] | None


@dataclasses.dataclass(frozen=True)
class Capture:
    """A request for the weights of some heads and query rows alone, [*B, heads, rows, S]."""

    heads: tuple[int, ...]
    rows: tuple[int, ...]


# JAX rebuilds pytrees around placeholders of any type, and `explain` takes shapes for arrays, so
# `| Any` leaves the annotations of fields to the reader; `check` verifies what is given.
@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class AttentionCall:
    """The arguments of `attend`, as a pytree whose structure is static; see there."""

    query: Float[Array, "*B T N H"] | Any
    key: Float[Array, "*B S K Hk"] | Any
    value: Float[Array, "*B S K Hv"] | Any
    score: Callable[..., Array] | Any = ScaledDot()
    mask: Mask | Any = Full()
    bias: Float[Array, "*#B #N #T #S"] | Callable[..., Array] | Any = None
    normalizer: Callable[..., Array] | Any = softmax
    dropout: Dropout | Any = None
    positions: Positions | Any = None
    capture: Literal["all"] | Capture | Any = dataclasses.field(
        default=None, metadata={"static": True}
    )

    @property
    def batch(self) -> tuple[int, ...]:
        """The batch axes *B."""
        return tuple(self.query.shape[:-3])

    @property
    def lengths(self) -> tuple[int, int]:
        """The numbers of queries and of keys, (T, S)."""
        return self.query.shape[-3], self.key.shape[-3]

    @property
    def heads(self) -> tuple[int, int]:
        """The numbers of query heads and of key heads, (N, K)."""
        return self.query.shape[-2], self.key.shape[-2]

    @property
    def is_empty(self) -> bool:
        """Whether there are no scores: no batch elements, queries, keys or heads."""
        return 0 in (*self.batch, *self.lengths, *self.heads)

    @property
    def at(self) -> Positions:
        """The positions, also where none are given."""
        return self.positions or Positions()

    @property
    def counted(self) -> bool:
        """Whether all positions count from 0."""
        return self.at.counted

    def replace(self, **changes: Any) -> "AttentionCall":
        """The call with some fields changed."""
        return dataclasses.replace(self, **changes)

    def given(self, *names: str) -> str | None:
        """The first of those optional fields that is given, or None."""
        return next((name for name in names if getattr(self, name) is not None), None)

    def split(
        self, function: Callable[["AttentionCall"], PyTree]
    ) -> tuple[Callable[[list], PyTree], list]:
        """`function` of this call as one of its arrays alone, and those arrays.

        Leaves that are no arrays, such as a bias that is a plain function, stay in the function.
        """
        leaves, structure = jax.tree.flatten(self)
        is_array = [hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves]

        def of_arrays(arrays: list) -> PyTree:
            rest = iter(arrays)
            pairs = zip(leaves, is_array, strict=True)
            return function(structure.unflatten([next(rest) if is_ else x for x, is_ in pairs]))

        return of_arrays, [x for x, is_ in zip(leaves, is_array, strict=True) if is_]

    def abstract(self, function: Callable[["AttentionCall"], PyTree]) -> PyTree:
        """The shapes and dtypes of `function` of this call; nothing is computed."""
        return jax.eval_shape(*self.split(function))

    def checked(self) -> "AttentionCall":
        """The call as implementations take it, with the positions of what is real in its mask.

        ValueError in one line that names what does not fit, and the way out.
        """
        self._check()
        if self.counted:
            return self
        return self.replace(positions=self.at.signed(), mask=self.mask & Real())

    def _check(self) -> None:
        self._check_kinds()
        if not isinstance(self.mask, Mask):
            raise ValueError(
                f"mask is of type {type(self.mask).__name__}: give a Mask, such as Padding(valid) "
                "for booleans [*B, S] that are true where the key is real, or Segments(q_ids, "
                "k_ids)"
            )
        self._check_shapes()
        (num_queries, num_keys), positions = self.lengths, self.at
        positions.check(self.batch, num_queries, num_keys)
        self.mask.check(
            self.batch,
            num_queries if positions.query is None else None,
            num_keys if positions.key is None else None,
        )
        if self.mask.num_heads not in (None, self.heads[0]):
            raise ValueError(
                f"the mask is one of {self.mask.num_heads} heads, and query has {self.heads[0]}"
            )
        self._check_bias()
        self._check_capture()

    def _check_kinds(self) -> None:
        """The arguments that Python would take for others."""
        for name, example in (
            ("score", "ScaledDot()"),
            ("mask", "Causal()"),
            ("normalizer", "softmax"),
            ("bias", "an array"),
        ):
            part = getattr(self, name)
            if isinstance(part, type):
                raise ValueError(f"{name} is the class {part.__name__}: write {part.__name__}(...)")
            array = name == "bias" and (part is None or hasattr(part, "dtype"))
            if not (callable(part) or array or name == "mask"):
                raise ValueError(
                    f"{name} is {part!r}, a {type(part).__name__}: give {example}, or a function"
                )
        for name, kind in (("dropout", Dropout), ("positions", Positions)):
            part = getattr(self, name)
            if part is not None and not isinstance(part, kind):
                raise ValueError(
                    f"{name} is of type {type(part).__name__}: give {kind.__name__}(...) or None"
                )

    def _check_shapes(self) -> None:
        query, key, value = self.query, self.key, self.value
        shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
        if not query.ndim == key.ndim == value.ndim >= 3:
            raise ValueError(f"{shapes}: give [*B, length, heads, width], the same *B in all")
        dtypes = query.dtype, key.dtype, value.dtype
        if not all(map(_is_float, dtypes)):
            raise ValueError(
                f"query, key and value are {', '.join(map(str, dtypes))}: give floats of at least "
                "16 bits"
            )
        if not query.shape[:-3] == key.shape[:-3] == value.shape[:-3]:
            raise ValueError(f"{shapes}: the leading batch axes differ")
        if key.shape[:-1] != value.shape[:-1]:
            raise ValueError(f"{shapes}: key and value differ in length or heads")
        num_heads, num_kv_heads = self.heads
        if num_heads % max(num_kv_heads, 1):
            raise ValueError(
                f"{shapes}: {num_heads} query heads are not a multiple of {num_kv_heads} key heads"
            )

    def _check_bias(self) -> None:
        bias = self.bias
        if bias is None or callable(bias):
            return
        full = (*self.batch, self.heads[0], *self.lengths)
        if not _is_float(bias.dtype):
            raise ValueError(
                f"bias is {bias.dtype}: give floats of at least 16 bits, which are added to the "
                "scores; which keys a query may attend to is for the mask"
            )
        fits = all(size in (1, most) for size, most in zip(bias.shape, full, strict=False))
        if bias.ndim != len(full) or not fits:
            raise ValueError(f"bias has shape {bias.shape}: give {full}, with 1 where it is shared")

    def _check_capture(self) -> None:
        capture = self.capture
        if isinstance(capture, Capture):
            for name, chosen, size in (
                ("heads", capture.heads, self.heads[0]),
                ("rows", capture.rows, self.lengths[0]),
            ):
                if not all(0 <= index < size for index in chosen):
                    raise ValueError(f"Capture({name}={chosen}): there are {size}, counted from 0")
        elif capture not in (None, "all"):
            raise ValueError(f'capture {capture!r} is not None, "all" or a Capture(heads, rows)')


def empty(call: AttentionCall) -> Attended:
    """The result of a call without scores: zeros, if anything."""
    num_queries, num_keys = call.lengths
    num_heads, _ = call.heads
    weights = jnp.zeros((*call.batch, num_heads, num_queries, num_keys), jnp.float32)
    shape = *call.batch, num_queries, num_heads, call.value.shape[-1]
    found = Attended(jnp.zeros(shape, call.value.dtype), captured(weights, call.capture))
    return vary_as(found, call.query, call.key, call.value)


def captured(
    weights: Shaped[Array, "*B N T S"], capture: Literal["all"] | Capture | None
) -> Array | None:
    """The requested part of the weights, or of anything laid out as they are."""
    if isinstance(capture, Capture):
        return weights[..., np.array(capture.heads)[:, None], np.array(capture.rows), :]
    return weights if capture == "all" else None


def _is_float(dtype: Any) -> bool:
    """Whether sums and products can be taken in the dtype: not in one of 8 bits or less."""
    return jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits >= 16
