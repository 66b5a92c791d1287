"""RNNencdec and RNNsearch: counts, equations, initialization, and what an output depends on."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import traverse_util

from attn_research.data.text.tokenizers import BOS, EOS, PAD
from attn_research.layers.attention import MemoryAttention
from attn_research.layers.scoring import make_scoring
from attn_research.models.rnn_search import RNNSearch
from attn_research.training.objectives import cross_entropy
from attn_research.training.optimizers import make_optimizer
from attn_research.training.step import Sums, make_state, make_train_step
from tests.models.shapes import encoder_decoder_shapes, num_parameters

B, T, S, N_WORDS = 2, 5, 7, 11
SIZES = dict(source_vocab=12, target_vocab=N_WORDS, hidden_dim=6, embedding_dim=5, maxout_dim=4)


def additive(alignment):
    """The paper's attention of that width, or none."""
    return alignment and MemoryAttention(make_scoring("additive", features=alignment))


class Case(NamedTuple):
    """A small network with weights large enough to tell one equation from another."""

    network: RNNSearch
    params: Any
    run: Any  # compiled (params, source, valid, previous) -> Decoded
    encode: Any


@functools.cache
def make_case(alignment, conditional=False):
    network = RNNSearch(**SIZES, attention=additive(alignment), conditional=conditional)
    shapes = encoder_decoder_shapes(network)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: np.float32(0.8 * rng.normal(size=x.shape)), shapes)
    capture = "all" if alignment else None
    return Case(
        network,
        params,
        jax.jit(functools.partial(network.apply, capture=capture)),
        jax.jit(functools.partial(network.apply, method="encode")),
    )


@pytest.fixture(
    params=[(3, False), (None, False), (3, True), (None, True)],
    ids=["RNNsearch", "RNNencdec", "RNNsearch, conditional", "RNNencdec, conditional"],
)
def case(request):
    return make_case(*request.param)


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
    network = RNNSearch(30_000, 30_000, 1000, 620, 500, additive(alignment))
    shapes = encoder_decoder_shapes(network)
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


def by_hand(params, source, previous):
    """Logits, weights and s_0 of one sentence without padding: appendix A.1 and A.2, in NumPy."""
    p = params["params"]
    words, before = (p[f"{n}_embedding"]["embedding"] for n in ("source", "target"))
    words, before = words[source], before[previous]

    def read(unit, order):
        states, state = {}, np.zeros(SIZES["hidden_dim"])
        for j in order:
            projected = words[j] @ unit["inputs"]["kernel"] + unit["inputs"]["bias"]
            states[j] = state = gated_step(unit, state, projected)
        return np.stack([states[j] for j in range(len(source))])

    forward = read(p["forward"]["unit"], range(len(source)))
    first = forward[-1]
    if "attention" in p:
        backward = read(p["backward"]["unit"], range(len(source))[::-1])
        annotations = np.concatenate([forward, backward], axis=1)
        first = backward[0]
    state = initial = np.tanh(first @ p["initial"]["kernel"] + p["initial"]["bias"])
    logits, weights = [], []
    unit = p["unit"]
    for word in before:
        taken = word @ unit["inputs"]["kernel"] + unit["inputs"]["bias"]
        if "second_unit" in p:
            state = gated_step(unit, state, taken)
        context = forward[-1]
        if "attention" in p:
            look = p["attention"]["scoring"]
            query = state @ look["query"]["kernel"] + look["query"]["bias"]
            energy = np.tanh(query + annotations @ look["key"]["kernel"]) @ look["vector"]
            weights.append(np.exp(energy) / np.exp(energy).sum())
            context = weights[-1] @ annotations
        if "second_unit" in p:
            second = p["second_unit"]
            taken = context @ second["inputs"]["kernel"] + second["inputs"]["bias"]
            state = gated_step(second, state, taken)
        out = p["readout"]
        hidden = out["input_0"]["bias"] + sum(
            x @ out[f"input_{i}"]["kernel"] for i, x in enumerate((state, word, context))
        )
        top = np.maximum(hidden[0::2], hidden[1::2])
        logits.append(top @ out["vocabulary"]["kernel"] + out["vocabulary"]["bias"])
        if "second_unit" not in p:
            state = gated_step(unit, state, taken + context @ p["context"]["kernel"])
    return np.stack(logits), np.array(weights), initial


def test_forward_pass_by_hand(case):
    source, valid, previous = make_batch()
    found = case.run(case.params, source, valid, previous)
    state = case.encode(case.params, source, valid).state.hidden
    for row in range(B):
        words = source[row][valid[row]]
        logits, weights, initial = by_hand(case.params, words, previous[row])
        np.testing.assert_allclose(found.logits[row], logits, atol=2e-5)
        np.testing.assert_allclose(state[row, 0], initial, atol=1e-6)
        if case.network.attention:
            np.testing.assert_allclose(found.weights[row][:, : len(words)], weights, atol=1e-6)
            assert weights.std(axis=1).mean() > 0.01  # far from uniform
            np.testing.assert_allclose(found.weights[row].sum(axis=-1), np.ones(T), atol=1e-6)
        else:
            assert found.weights is None


@pytest.fixture(scope="module")
def initialized():
    """A network large enough for statistics, as it begins; three times as wide as the paper's."""
    init = nn.initializers.normal(0.003)
    attention = MemoryAttention(make_scoring("additive", features=24, kernel_init=init))
    network = RNNSearch(50, 60, 40, 30, 20, attention, init_scale=3.0)
    ids = jnp.zeros((1, 2), jnp.int32)
    return network, jax.jit(network.init)(jax.random.key(3), ids, ids == 0, ids)


def test_initialization_of_the_paper(initialized):
    network, params = initialized
    assert RNNSearch(**SIZES, attention=None).init_scale == 1
    leaves = traverse_util.flatten_dict(params["params"], sep="/")
    recurrent = [name for name in leaves if name.endswith(("gates/kernel", "candidate/kernel"))]
    assert len(recurrent) == 6
    for name in recurrent:
        for block in np.split(np.asarray(leaves[name]), leaves[name].shape[1] // 40, axis=1):
            np.testing.assert_allclose(block @ block.T, np.eye(40), atol=1e-5)
    zeros = {name for name, leaf in leaves.items() if not np.any(leaf)}
    biases = {name for name in leaves if name.endswith("bias")}
    assert zeros == biases | {"attention/scoring/vector"}
    for name in leaves.keys() - zeros - set(recurrent):
        deviation = network.init_scale * (0.001 if name.startswith("attention/") else 0.01)
        values = np.asarray(leaves[name]).ravel()
        # Four standard errors of a normal sample's deviation and mean.
        error = 4 * deviation / np.sqrt(values.size)
        assert abs(values.std() - deviation) < error / np.sqrt(2), name
        assert abs(values.mean()) < error, name
        assert np.abs(values).max() > 2.5 * deviation, name  # not uniform


def test_initial_attention_is_uniform_over_words(initialized):
    network, params = initialized
    source, valid, previous = make_batch()
    weights = jax.jit(functools.partial(network.apply, capture="all"))(
        params, source, valid, previous
    ).weights
    uniform = valid / valid.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(weights, np.repeat(uniform[:, None], T, axis=1), atol=1e-7)


def make_loss(network):
    def loss(params, batch, key):
        source, valid, previous, target = batch
        logits = network.apply(
            params, source, valid, previous, train=True, rngs={"dropout": key}
        ).logits
        return Sums(*cross_entropy(logits, target, target != PAD), {})

    return loss


def test_golden_steps():
    network = RNNSearch(**SIZES, attention=additive(3), output_dropout=0.3)
    source, valid, previous = make_batch()
    target = np.pad(previous[:, 1:], ((0, 0), (0, 1)), constant_values=EOS)
    target[1, 3:] = EOS, PAD
    optimizer = make_optimizer("adadelta", 1.0, 1.0)
    step = make_train_step(make_loss(network), optimizer, jax.random.key(5))
    state = make_state(jax.tree.map(jnp.array, make_case(3).params), optimizer)
    found = []
    for _ in range(3):
        state, metrics = step(state, (source, valid, previous, target))
        found.append(float(metrics.sums.total / metrics.sums.weight))
    np.testing.assert_allclose(
        found,
        [4.987814, 5.909648, 4.873376],
        rtol=1e-5,
        err_msg="The losses of three steps have changed. That is right only if the model, the "
        "optimizer or the use of keys was meant to change: then write the new ones here.",
    )


def test_tied_embeddings_share_one_matrix_and_need_equal_sizes():
    sizes = dict(source_vocab=12, target_vocab=12, hidden_dim=6, embedding_dim=4, maxout_dim=4)
    sizes |= {"attention": additive(3)}
    counts = {}
    for tied in (False, True):
        shapes = encoder_decoder_shapes(RNNSearch(**sizes, tied=tied))
        counts[tied] = num_parameters(shapes)
    assert counts[False] - counts[True] == 2 * 12 * 4
    for wrong in ({"target_vocab": 11}, {"maxout_dim": 5}):
        with pytest.raises(ValueError, match="tied words need one vocabulary"):
            encoder_decoder_shapes(RNNSearch(**(sizes | wrong), tied=True))


def test_word_dropout_drops_whole_words_only_in_training():
    source, valid, previous = make_batch()
    network = RNNSearch(**SIZES, attention=additive(3), word_dropout=0.5)
    plain, params = make_case(3).run, make_case(3).params
    run = jax.jit(functools.partial(network.apply, train=True))
    # Where every word before is hidden, it makes no difference which they were.
    hidden = RNNSearch(**SIZES, attention=additive(3), word_dropout=1.0)
    blind = jax.jit(functools.partial(hidden.apply, train=True))
    key = {"dropout": jax.random.key(0)}
    others = np.where(previous == BOS, BOS, 4)
    np.testing.assert_array_equal(
        blind(params, source, valid, previous, rngs=key).logits,
        blind(params, source, valid, others, rngs=key).logits,
    )
    one = run(params, source, valid, previous, rngs=key).logits
    assert np.abs(one - plain(params, source, valid, previous).logits).max() > 1e-2
    whole = jax.jit(network.apply)(params, source, valid, previous).logits
    np.testing.assert_allclose(whole, plain(params, source, valid, previous).logits, atol=1e-5)
