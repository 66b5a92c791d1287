"""Attention of a decoder over regions of an image: soft, hard, or none.

Xu et al. 2015, section 4. Each kind is called as `kind(states, memory, ...) -> Read`, after
`kind.project(annotations)` has made the memory of an image.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers.attention import Memory, MemoryAttention
from attn_research.types import Array, Float, Int


class Read(NamedTuple):
    """What a state reads of an image: a context, and where it comes from.

    `weights` are those of attention, where there is any. Of hard attention, `log_probs` are those
    of the regions drawn, 0 where the mean was taken instead, and `entropy` is that of the weights.
    """

    context: Float[Array, "B T D"]
    weights: Float[Array, "B T S"] | None = None
    log_probs: Float[Array, "B T"] | None = None
    entropy: Float[Array, "B T"] | None = None


class SoftRegions(nn.Module):
    """Soft attention: the mean of the regions by their weights, Σ_i α_ti a_i (equation 13)."""

    attention: MemoryAttention

    def project(self, annotations: Float[Array, "B S D"]) -> Memory:
        """The memory of an image, all of whose regions may be attended to."""
        return self.attention.project(annotations, jnp.ones(annotations.shape[:2], bool))

    def __call__(
        self,
        states: Float[Array, "B T Dstate"],
        memory: Memory,
        choices: Int[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Read:
        return Read(*self.attention(states, memory, capture="all"))


class HardRegions(SoftRegions):
    """Hard attention: one region a_s, drawn by the weights in training (equations 8 to 12).

    A draw is of the key "sample". In evaluation it is the region of the largest weight. In training
    a state takes the mean of the regions instead with probability 1 - `drawn`; the paper decides
    once for all words of an image, with 0.5 (section 4.1). `choices` name the regions for all
    states. `baseline` is the moving average of the reward.
    """

    drawn: float = 0.5

    def setup(self):
        self.baseline = self.param("baseline", nn.initializers.zeros, ())

    def __call__(self, states, memory, choices=None, *, train=False) -> Read:
        mean, weights = self.attention(states, memory, capture="all")
        log_weights = jnp.log(jnp.maximum(weights, jnp.finfo(weights.dtype).tiny))
        taken = jnp.ones(weights.shape[:2], bool)
        if choices is None and train:
            key = self.make_rng("sample")
            choices = jax.random.categorical(key, jax.lax.stop_gradient(log_weights))
            taken = jax.random.uniform(jax.random.fold_in(key, 1), taken.shape) < self.drawn
        elif choices is None:
            choices = jnp.argmax(weights, axis=-1)
        context = jnp.take_along_axis(memory.values[:, :, 0], choices[..., None], axis=1)
        log_probs = jnp.take_along_axis(log_weights, choices[..., None], axis=-1)[..., 0]
        return Read(
            jnp.where(taken[..., None], context, mean),
            weights,
            jnp.where(taken, log_probs, 0),
            -jnp.sum(weights * log_weights, axis=-1),
        )


class MeanRegions(nn.Module):
    """No attention: the mean of all regions, the same for every state."""

    def project(self, annotations: Float[Array, "B S D"]) -> Float[Array, "B 1 D"]:
        """The mean."""
        return jnp.mean(annotations, axis=1, keepdims=True)

    def __call__(self, states, memory, choices=None, *, train=False) -> Read:
        return Read(jnp.broadcast_to(memory, (*states.shape[:2], memory.shape[-1])))
