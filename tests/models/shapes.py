"""Shapes and numbers of parameters, without any that are drawn."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.types import PyTree


def encoder_decoder_shapes(network: nn.Module) -> PyTree:
    """The shapes of the parameters of a network from ids to ids."""
    ids = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    valid = jax.ShapeDtypeStruct((1, 2), bool)
    return jax.eval_shape(network.init, jax.random.key(0), ids, valid, ids)


def decoder_shapes(network: nn.Module) -> PyTree:
    """The shapes of the parameters of a network that reads ids alone."""
    ids = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    return jax.eval_shape(network.init, jax.random.key(0), ids)


def num_parameters(shapes: PyTree) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))
