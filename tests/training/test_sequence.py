"""Training whose texts a mesh axis divides, beside one device: parameters, memory, traffic."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attn_research.attention import Rotary, Window
from attn_research.models.bert import Bert
from attn_research.models.gpt import GPT
from attn_research.training.collectives import collectives
from attn_research.training.objectives import chunked_cross_entropy
from attn_research.training.placement import make_placement
from attn_research.training.step import Sums, make_state

KEY = jax.random.key(0)
SIZES = dict(num_layers=2, model_dim=32, mlp_dim=64, num_heads=4)
NETWORKS = {
    "gpt": GPT(50, **SIZES, rotary=Rotary(8), mask=Window(9, 0)),
    "bert": Bert(50, **SIZES, heads=("masked_lm",), max_length=4096),
}


def make_loss(network, chunk=None):
    def loss(params, batch, key):
        ids = batch["ids"]
        states, logits = (
            (network.apply(params, ids, method="read").states, network.logits)
            if isinstance(network, GPT)
            else (network.apply(params, ids, ids > 0).states, network.word_logits)
        )

        def of_states(states):
            return network.apply(params, states, method=logits)

        total, count = chunked_cross_entropy(of_states, states, ids, ids > 2, chunk=chunk)
        return Sums(total, count, {})

    return loss


def prepare(network, length, mesh):
    placement = make_placement("sharded" if mesh else "jit", mesh)
    ids = np.random.default_rng(0).integers(1, 50, (4, length))
    params = network.init(KEY, jnp.asarray(ids[:1, :8]))
    optimizer = optax.sgd(0.1)
    return placement, {"ids": ids.astype(np.int32)}, make_state(params, optimizer), optimizer


def train(network, length, mesh, chunk=None):
    placement, batch, state, optimizer = prepare(network, length, mesh)
    step = placement.compile(make_loss(network, chunk), optimizer, KEY, state)
    state = placement.shard_state(state)
    for _ in range(2):
        state, metrics = step(state, placement.shard_batch(batch))
    return placement.gather(state).params, float(metrics.sums.total)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("length", "mesh", "chunk"),
    [
        (64, "sequence=8", None),
        (64, "sequence=4,data=2", 24),
        (61, "sequence=4,fsdp=2,data=1", None),  # not a multiple of the devices
    ],
)
def test_divided_texts_give_the_parameters_of_one_device(name, length, mesh, chunk):
    network = NETWORKS[name]
    expected, total = train(network, length, "")
    found, divided = train(network, length, mesh, chunk)
    assert divided == pytest.approx(total, rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), found, expected)


def test_what_a_device_needs_shrinks_with_their_number():
    """No layer gathers a text: all that goes around are keys and values, and their gradients."""
    network, compiled = NETWORKS["gpt"], {}
    for mesh in ("", "sequence=8"):
        placement, batch, state, optimizer = prepare(network, 4096, mesh)
        loss = make_loss(network)
        compiled[mesh] = placement.lower(loss, optimizer, KEY, state, batch).compile()
    needs = [each.memory_analysis().temp_size_in_bytes for each in compiled.values()]
    assert needs[1] < needs[0] / 3
    traffic = collectives(compiled["sequence=8"].as_text())
    # Forward keys and values, backward their gradients too, in eight steps of two layers.
    assert traffic["collective-permute"].count == 2 * 8 * (2 + 4)
    of_states = 4 * 4096 * 32 * 4
    assert traffic["all-gather"].bytes < 1.1 * of_states  # the gradient of the embedding


def test_a_model_without_attention_over_texts_is_refused():
    placement, batch, state, optimizer = prepare(NETWORKS["gpt"], 64, "sequence=8")

    def loss(params, batch, key):
        total = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
        return Sums(total, jnp.float32(1), {})

    with pytest.raises(ValueError, match="sequence=8, and this model has no attention that a ring"):
        placement.lower(loss, optimizer, KEY, state, batch)
