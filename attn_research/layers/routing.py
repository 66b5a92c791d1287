"""The Routing Transformer's attention: queries attend to keys of the same cluster of a k-means.

Roy, Saffar, Vaswani, Grangier 2020, section 4.1.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.attention import Attended, Mask, Rotation
from attn_research.attention.array_masks import Padding
from attn_research.attention.masks import And
from attn_research.attention.routing import centroid_gradient, routing_attend
from attn_research.decoding.cache import KeyValues
from attn_research.layers.by_content import ContentAttention
from attn_research.types import Array, Bool, Float


class RoutingAttention(ContentAttention):
    """Heads whose queries and keys attend within `num_clusters` clusters of a k-means.

    A cluster has the `size` queries and as many keys that are nearest to its centroid, or where
    None so many that all clusters have a text's length of both. With `share_keys` the queries are
    the keys, as the paper has it in causal attention. Centroids are parameters, with the gradient
    of k-means, the sum over vectors of half the squared distance to the nearest centroid, which the
    total of a loss is as if it had; the paper moves them by an average over steps, as
    `update_centroids` does.
    """

    num_clusters: int = 16
    size: int | None = None
    share_keys: bool = False
    title: ClassVar[str] = "routing attention"
    own_keys: ClassVar[str] = "every head has its own keys, so none share them"

    def setup(self):
        super().setup()
        shape = self.num_heads, self.num_clusters, self.head_dim
        self.centroids = self.param("centroids", nn.initializers.normal(1.0), shape)

    def project(
        self, inputs: Float[Array, "*B S D"], rotation: Rotation | None = None
    ) -> KeyValues:
        """Keys, which may be the queries, and values."""
        keys = self.query if self.share_keys else self.key
        return self._key_values(keys(inputs), self.value(inputs), rotation)

    def attend_by_content(self, query, memory, mask, *, train, capture) -> Attended:
        """Contexts of the heads [*B, T, N, Hv], and weights if captured."""
        key, length, valid = memory.keys, query.shape[-3], real_tokens(mask)
        size = -(-length // self.num_clusters) if self.size is None else min(self.size, length)
        context, weights = routing_attend(
            query,
            query if self.share_keys else key,
            memory.values,
            jax.lax.stop_gradient(self.centroids),
            size=size,
            mask=mask,
            valid=valid,
            capture=capture,
        )
        vectors = query if self.share_keys else jnp.concatenate([query, key], axis=-3)
        if valid is not None and not self.share_keys:
            valid = jnp.concatenate([valid, valid], axis=-1)
        pull = centroid_gradient(self.centroids, vectors, valid=valid)
        return Attended(_with_gradient(context, self.centroids, pull), weights)

    def _projections(self):
        query, key, value = super()._projections()
        return query, None if self.share_keys else key, value


def real_tokens(mask: Mask) -> Bool[Array, "*B T"] | None:
    """Where the padding of a mask is true, which is joined to its other parts by &; None without.

    Padding that stands elsewhere is a mask as any other.
    """
    if isinstance(mask, Padding):
        return mask.valid
    if isinstance(mask, And):
        found = [each for each in map(real_tokens, mask.parts) if each is not None]
        return found[0] & found[1] if len(found) > 1 else found[0] if found else None
    return None


@jax.custom_vjp
def _with_gradient(context: Array, centroids: Array, gradient: Array) -> Array:
    """The context; backward the centroids have this gradient as well."""
    return context


_with_gradient.defvjp(
    lambda context, centroids, gradient: (context, gradient),
    lambda gradient, cotangent: (cotangent, gradient, jnp.zeros_like(gradient)),
)
