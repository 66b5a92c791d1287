"""RNNencdec and RNNsearch: counts, equations, initialization, and what an output depends on."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from attn_research.data.tokenizers import BOS, EOS, PAD
from attn_research.models.seq2seq import Seq2Seq
from attn_research.training.objectives import cross_entropy
from attn_research.training.optimizers import make_optimizer
from attn_research.training.step import Sums, make_state, make_train_step

B, T, S, N_WORDS = 2, 5, 7, 11
SIZES = dict(source_vocab=12, target_vocab=N_WORDS, hidden=6, embedding=5, maxout=4)


class Case(NamedTuple):
    """A small network with weights large enough to tell one equation from another."""

    network: Seq2Seq
    params: Any
    run: Any  # compiled (params, source, valid, previous) -> Decoded
    encode: Any
    step: Any


@functools.cache
def make_case(alignment):
    network = Seq2Seq(**SIZES, alignment=alignment)
    ids = jnp.zeros((1, 2), jnp.int32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), ids, ids == 0, ids)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: np.float32(0.5 * rng.normal(size=x.shape)), shapes)
    capture = "all" if alignment else None
    return Case(
        network,
        params,
        jax.jit(functools.partial(network.apply, capture=capture)),
        jax.jit(functools.partial(network.apply, method="encode")),
        jax.jit(functools.partial(network.apply, method="step")),
    )


@pytest.fixture(params=[3, None], ids=["RNNsearch", "RNNencdec"])
def case(request):
    return make_case(request.param)


def make_batch():
    """Two sentences of 7 and 4 source ids, and the words before each of 5 target words."""
    rng = np.random.default_rng(1)
    source = rng.integers(4, 12, (B, S)).astype(np.int32)
    source[1, 3:] = EOS, PAD, PAD, PAD
    previous = rng.integers(4, N_WORDS, (B, T)).astype(np.int32)
    previous[:, 0] = BOS
    return source, source != PAD, previous


@pytest.mark.parametrize(
    ("alignment", "weights", "biases"),
    # Biases: 3 gates of 1000 in each of 3 units, W_s, U_o, W_o, and W_a where there is attention.
    [(1000, 80_401_000, 42_000), (None, 68_540_000, 38_000)],
)
def test_parameter_counts_at_the_sizes_of_the_paper(alignment, weights, biases):
    network = Seq2Seq(30_000, 30_000, 1000, 620, 500, alignment)
    ids = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    valid = jax.ShapeDtypeStruct((1, 2), bool)
    shapes = jax.eval_shape(network.init, jax.random.key(0), ids, valid, ids)
    sizes = {"bias": 0, "weight": 0}
    for path, leaf in traverse_util.flatten_dict(shapes).items():
        sizes["bias" if path[-1] == "bias" else "weight"] += leaf.size
    assert sizes == {"weight": weights, "bias": biases}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gated_step(p, state, projected):
    """z, r, then the candidate, whose reset gate acts before the product."""
    to_z, to_r, to_candidate = np.split(projected, 3)
    U_z, U_r = np.split(p["gates"]["kernel"], 2, axis=1)
    z, r = sigmoid(to_z + state @ U_z), sigmoid(to_r + state @ U_r)
    candidate = np.tanh(to_candidate + (r * state) @ p["candidate"]["kernel"])
    return (1 - z) * state + z * candidate
