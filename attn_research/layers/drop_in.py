"""Drop-in attention function for Flax's own layers, of Linen and of NNX, that calls `attend`.

    nn.MultiHeadDotProductAttention(num_heads, attention_fn=make_attention_fn(score=Dot()))
    nnx.MultiHeadAttention(num_heads, features, attention_fn=make_attention_fn(), rngs=rngs)

Linen passes a function only the arguments that it names and silently drops the others. So all
arguments of both are named here, and what `attend` cannot do is an error.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax import nnx
from flax.linen.dtypes import promote_dtype as promoted

from attn_research.attention import attend
from attn_research.attention.array_masks import Around, Dense, Padding
from attn_research.attention.masks import Causal, Full, Mask
from attn_research.attention.normalizers import Dropout, softmax
from attn_research.attention.scores import ScaledDot
from attn_research.trees import pytree
from attn_research.types import Array, Float, Shaped, UInt


@pytree
@dataclasses.dataclass(frozen=True)
class SharedDropout(Dropout):
    """Dropout of the same weights in every example and head: Flax's `broadcast_dropout`."""

    def rows(self, shape: tuple[int, ...]) -> UInt[Array, "*B N T 2"]:
        words = super().rows((*(1,) * (len(shape) - 1), shape[-1]))
        return jnp.broadcast_to(words, (*shape, 2))


def make_attention_fn(
    *,
    score: Callable[..., Array] = ScaledDot(),
    mask: Mask = Full(),
    normalizer: Callable[..., Array] = softmax,
    implementation: str | None = None,
) -> Callable[..., Float[Array, "*B T N Hv"]]:
    """An `attention_fn` of Flax that calls `attend` with this score, mask and normalizer.

    Flax's mask holds together with `mask`, its bias is added to the score, dropout is drawn from
    its key in the way of `attend`, and weights are sown. Softmax is in float32 whatever
    `force_fp32_for_softmax`. A query that may attend to nothing gives 0, where Flax gives the mean
    of the values.
    """
    own_mask = mask

    def attention_fn(
        query: Float[Array, "*B T N H"],
        key: Float[Array, "*B S K Hk"],
        value: Float[Array, "*B S K Hv"],
        bias: Float[Array, "..."] | None = None,
        mask: Shaped[Array, "..."] | None = None,
        broadcast_dropout: bool = True,
        dropout_rng: Array | None = None,
        dropout_rate: float = 0.0,
        deterministic: bool = False,
        dtype: Any = None,
        precision: Any = None,
        module: nn.Module | nnx.Module | None = None,
        force_fp32_for_softmax: bool = False,
        einsum_dot_general: Any = None,
        qk_attn_weights_einsum: Any = None,
        attn_weights_value_einsum: Any = None,
        promote_dtype: Any = None,
        is_causal: bool = False,
    ) -> Float[Array, "*B T N Hv"]:
        _refuse(
            precision=precision,
            einsum_dot_general=einsum_dot_general,
            qk_attn_weights_einsum=qk_attn_weights_einsum,
            attn_weights_value_einsum=attn_weights_value_einsum,
            promote_dtype=promote_dtype,
        )
        query, key, value = promoted(query, key, value, dtype=dtype)
        allowed_mask = own_mask & Causal() if is_causal else own_mask
        if query.shape[-3] == 1 < key.shape[-3] and not _is_independent_of_position(allowed_mask):
            raise ValueError(
                f"the position of a single query is unknown, but {type(allowed_mask).__name__} "
                "depends on it: in decoding leave the order to Flax's own mask, and give Full, "
                "Padding or Around as ours"
            )
        bias = None if bias is None else _spread(bias, query.ndim)
        if mask is not None:
            allowed = _spread(mask, query.ndim).astype(bool)
            if allowed.shape[-3] == 1:
                shape = *query.shape[:-3], 1, query.shape[-3], key.shape[-3]
                dense = Dense(jnp.broadcast_to(allowed, shape)[..., 0, :, :])
                allowed_mask = allowed_mask & dense
            else:  # our masks are those of all heads
                hidden = jnp.where(allowed, 0.0, -jnp.inf)
                bias = hidden if bias is None else bias + hidden
        context, weights = attend(
            query,
            key,
            value,
            score=score,
            mask=allowed_mask,
            bias=bias,
            normalizer=normalizer,
            dropout=None
            if deterministic or not dropout_rate
            else _dropout(dropout_rate, dropout_rng, shared=broadcast_dropout),
            implementation=implementation,
            capture=None if module is None else "all",
        )
        if isinstance(module, nn.Module):
            module.sow("intermediates", "attention_weights", weights)
        elif module is not None:
            module.sow(nnx.Intermediate, "attention_weights", weights)
        return context

    return attention_fn


def _refuse(**arguments: Any) -> None:
    for name, given in arguments.items():
        if given is not None:
            raise ValueError(
                f"{name} is not supported: products are JAX's own, in float32 or wider; leave it "
                "unset, and see jax.default_matmul_precision"
            )


def _is_independent_of_position(mask: Mask) -> bool:
    """True if the mask does not depend on query positions."""
    parts = [getattr(mask, field.name) for field in dataclasses.fields(mask)]
    parts = [part for part in parts if isinstance(part, Mask)]
    return isinstance(mask, Full | Padding | Around) or (
        bool(parts) and all(map(_is_independent_of_position, parts))
    )


def _spread(array: Array, rank: int) -> Array:
    """The array with leading axes of size 1, since Flax accepts arrays that broadcast."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def _dropout(rate: float, key: Array | None, *, shared: bool) -> Dropout:
    if key is None:
        raise ValueError("dropout without a key: give dropout_rng, or deterministic=True")
    return (SharedDropout if shared else Dropout)(rate, key)
