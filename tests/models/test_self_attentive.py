"""The self-attentive classifier: its size, its penalty, independence of batch mates and padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.layers.pooling import SelfAttentionPooling, each_state, last_states, mean_pooling
from attn_research.models.self_attentive import SelfAttentive

VOCAB, CLASSES, EMBEDDING, HIDDEN, MLP, ROWS, FEATURES = 23, 3, 5, 4, 7, 2, 6
IDS = np.zeros((4, 9), np.int32)
for _row, _length in enumerate((9, 5, 1, 0)):  # the last row holds nothing
    IDS[_row, :_length] = np.random.default_rng(_row).integers(1, VOCAB, _length)
INPUTS = jnp.asarray(IDS), jnp.asarray(IDS > 0)
POOLINGS = {
    "attention": SelfAttentionPooling(ROWS, FEATURES),
    "last": last_states,
    "mean": mean_pooling,
    "each": each_state,
}


def make(pooling, **options):
    return SelfAttentive(
        VOCAB, CLASSES, EMBEDDING, HIDDEN, MLP, pooling=POOLINGS[pooling], init_limit=0.5, **options
    )


def init(network):
    return jax.jit(network.init)(
        jax.random.key(0), jnp.ones((1, 2), jnp.int32), jnp.ones((1, 2), bool)
    )


@pytest.mark.parametrize(("pooling", "width"), [("attention", ROWS * 8), ("last", 8), ("each", 8)])
def test_parameters_are_counted_by_formula(pooling, width):
    shapes = jax.eval_shape(lambda: init(make(pooling)))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    lstm = 2 * ((EMBEDDING + HIDDEN + 1) * 4 * HIDDEN)
    attention = (2 * HIDDEN + ROWS) * FEATURES if pooling == "attention" else 0
    head = (width + 1) * MLP + (MLP + 1) * CLASSES
    assert count == VOCAB * EMBEDDING + lstm + attention + head


@pytest.mark.parametrize("pooling", POOLINGS)
def test_neither_padding_nor_batch_mates_change_a_row(pooling):
    network = make(pooling)
    params = init(network)
    run = jax.jit(lambda ids: network.apply(params, ids, ids > 0).logits)
    whole = np.asarray(run(IDS))
    assert np.isfinite(whole).all() and np.abs(whole[0] - whole[1]).max() > 1e-3
    wider = np.asarray(run(np.pad(IDS[1:2, :5], [(0, 0), (0, 7)])))
    if pooling == "each":
        np.testing.assert_allclose(wider[0, :5], whole[1, :5], atol=1e-6)
    else:
        np.testing.assert_allclose(wider[0], whole[1], atol=1e-6)


def test_the_penalty_is_a_term_of_each_example():
    network = make("attention", penalty=0.7)
    params = init(network)
    found = jax.jit(lambda p: network.apply(p, *INPUTS, capture="all"))(params)
    weights = np.asarray(found.weights)
    assert weights.shape == (4, ROWS, 9)
    product = weights @ weights.transpose(0, 2, 1) - np.eye(ROWS)
    expected = 0.7 * (product**2).sum(axis=(1, 2))
    np.testing.assert_allclose(found.auxiliary, expected, rtol=1e-5)
    plain = jax.eval_shape(make("attention").apply, params, *INPUTS)
    assert plain.auxiliary is None and plain.weights is None


def test_rows_of_several_examples_are_refused():
    network = make("mean")
    with pytest.raises(ValueError, match="SelfAttentive does not keep the examples of a row apart"):
        network.apply(init(network), *INPUTS, segments=INPUTS[0])
