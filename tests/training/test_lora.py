"""LoRA: merge and unmerge, counts of the paper, memory of the optimizer, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attn_research.models.bert import SIZES, Bert
from attn_research.models.gpt import GPT
from attn_research.models.gpt import SIZES as GPT_SIZES
from attn_research.training.lora import LORA, MERGED, Adapted, LoRA
from attn_research.training.step import make_state

QUERY_VALUE = "attention/(query|value)$"
IDS = jnp.array([[3, 4, 5, 6, 7], [8, 9, 10, 11, 12]])
NETWORK = Bert(13, 2, 6, 10, 3, heads=("pooler", "classifier"), max_length=9)


def draw(params, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.array(0.5 * rng.normal(size=x.shape), x.dtype), params)


@pytest.fixture(scope="module")
def adapted():
    lora = LoRA(2, 3.0, QUERY_VALUE)
    network = Adapted(NETWORK, lora)
    return network, draw(jax.eval_shape(network.init, jax.random.key(0), IDS))


def test_merged_equals_unmerged(adapted):
    network, params = adapted
    run = jax.jit(lambda params: network.apply(params, IDS).states)
    merged = network.lora.merge(params)
    assert merged.keys() == {"params", MERGED} and LORA not in merged
    np.testing.assert_allclose(run(merged), run(params), atol=1e-6)
    plain = {"params": merged["params"]}
    np.testing.assert_allclose(NETWORK.apply(plain, IDS).states, run(params), atol=1e-6)
    again = network.lora.unmerge(merged)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), again, params)
    # The update is not small: without it the states are others.
    assert jnp.abs(run({"params": params["params"]}) - run(params)).max() > 0.01


def test_an_update_is_the_product_of_two_matrices(adapted):
    network, params = adapted
    kernel = network.lora.apply(params)["params"]["blocks"]["attention"]["query"]["kernel"]
    before = params["params"]["blocks"]["attention"]["query"]["kernel"]
    low = params[LORA]["blocks"]["attention"]["query"]["kernel"]
    for layer in range(2):
        expected = before[layer] + 3 / 2 * np.asarray(low["a"][layer]) @ np.asarray(low["b"][layer])
        np.testing.assert_allclose(kernel[layer], expected, rtol=1e-5)


def test_training_starts_at_the_network_itself():
    network = Adapted(NETWORK, LoRA(2, 3.0, QUERY_VALUE))
    params, plain = (jax.jit(one.init)(jax.random.key(0), IDS) for one in (network, NETWORK))
    jax.tree.map(np.testing.assert_array_equal, params["params"], plain["params"])
    np.testing.assert_array_equal(
        network.apply(params, IDS).states, NETWORK.apply(plain, IDS).states
    )
    low = params[LORA]["blocks"]["attention"]["value"]["kernel"]
    assert low["a"].std() > 0.1 and not low["b"].any()


def test_what_is_merged_or_adapted_already_is_refused(adapted):
    network, params = adapted
    merged = network.lora.merge(params)
    with pytest.raises(ValueError, match="merged already"):
        network.lora.merge(merged)
    with pytest.raises(ValueError, match="not merged: there is nothing to subtract"):
        network.lora.unmerge(params)
    with pytest.raises(ValueError, match="without A and B"):
        network.lora.merge({"params": params["params"]})
    with pytest.raises(ValueError, match="adapted already: they have 'lora'"):
        network.lora.init(params, jax.random.key(0))
    with pytest.raises(ValueError, match="no matrix is adapted by 'qeury': there are blocks/"):
        LoRA(2, 3.0, "qeury").init({"params": params["params"]}, jax.random.key(0))


def count(network, lora):
    shapes = jax.eval_shape(Adapted(network, lora).init, jax.random.key(0), IDS)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes[LORA]))


def bert(vocab_size, layers, width, mlp, heads):
    return Bert(vocab_size, layers, width, mlp, heads)


ROBERTA = {size: bert(50_265, *SIZES[size]) for size in ("base", "large")}
DEBERTA = bert(128_100, 48, 1536, 6144, 24)
GPT3 = GPT(50_257, 96, 12_288, 49_152, 96)
# The network, the rank, the matrices, and the number that 2 L d r gives for them.
COUNTS = {
    "MiniLM": (bert(30_522, 6, 384, 1536, 12), 8, QUERY_VALUE, 73_728),
    "RoBERTa base, 0.3M": (ROBERTA["base"], 8, QUERY_VALUE, 294_912),
    "RoBERTa large, 0.8M": (ROBERTA["large"], 8, QUERY_VALUE, 786_432),
    "DeBERTa XXL, 4.7M": (DEBERTA, 16, QUERY_VALUE, 4_718_592),
    "DeBERTa XXL, r 8": (DEBERTA, 8, QUERY_VALUE, 2_359_296),
    "GPT-3, 4.7M": (GPT3, 1, QUERY_VALUE, 4_718_592),
    "GPT-3, 37.7M": (GPT3, 8, QUERY_VALUE, 37_748_736),
    "GPT-3, q r8, 18M": (GPT3, 8, "attention/query$", 18_874_368),
    "GPT-3, q k r4, 18M": (GPT3, 4, "attention/(query|key)$", 18_874_368),
    "GPT-3, q k v o r2, 18M": (GPT3, 2, "attention/", 18_874_368),
    # Printed as 0.35M and 0.77M, which the paper's own rule does not give.
    "GPT-2 medium": (GPT(50_257, *GPT_SIZES["medium"]), 4, QUERY_VALUE, 393_216),
    "GPT-2 large": (GPT(50_257, *GPT_SIZES["large"]), 4, QUERY_VALUE, 737_280),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_the_paper(name):
    network, rank, where, expected = COUNTS[name]
    assert count(network, LoRA(rank, 2.0 * rank, where)) == expected


def test_the_optimizer_has_no_state_of_frozen_parameters(adapted):
    network, params = adapted
    state = make_state(params, optax.adam(1e-3), trainable=lambda path: path.startswith("lora/"))
    moments = sum(x.size for x in jax.tree.leaves(state.optimizer))
    assert moments == 2 * count(NETWORK, network.lora) + 1
