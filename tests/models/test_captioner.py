"""The captioner: its equations in NumPy, counts, search steps, and the kinds of attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from attn_research.layers.attention import MemoryAttention
from attn_research.layers.regions import HardRegions, MeanRegions, SoftRegions
from attn_research.layers.scoring import make_scoring
from attn_research.models.captioner import Captioner
from attn_research.rng import per_example_key
from tests.models.shapes import num_parameters

B, GRID, CHANNELS, D, HIDDEN, WIDTH, V, FEATURES = 2, (2, 3), 3, 7, 5, 4, 11, 6
PREVIOUS = jnp.array([[1, 4, 5, 6], [1, 9, 4, 10]])
IMAGES = jnp.asarray(np.random.default_rng(1).normal(size=(B, *GRID, CHANNELS)), jnp.float32)


def attention():
    return MemoryAttention(make_scoring("additive", features=FEATURES))


KINDS = {
    "soft": lambda: SoftRegions(attention()),
    "hard": lambda: HardRegions(attention()),
    "mean": MeanRegions,
}


@functools.cache
def make(kind):
    network = Captioner(V, nn.Dense(D), KINDS[kind](), HIDDEN, WIDTH)
    shapes = jax.eval_shape(network.init, jax.random.key(0), IMAGES, PREVIOUS)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: np.float32(0.8 * rng.normal(size=x.shape)), shapes)
    return network, params, jax.jit(network.apply)(params, IMAGES, PREVIOUS)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def caption(params, image, previous, kind):
    """Xu et al. 2015, equations 1 to 7, of one image."""
    p = jax.tree.map(np.float64, params["params"])

    def dense(name, x, part=None):
        layer = p[name] if part is None else p[part][name]
        return x @ layer["kernel"] + layer.get("bias", 0)

    annotations = dense("encoder", image.reshape(-1, CHANNELS)) + p["positions"]
    mean = annotations.mean(axis=0)
    cell, hidden = (np.tanh(dense(name, mean)) for name in ("initial_cell", "initial_hidden"))
    logits, weights = [], []
    for word in previous:
        context, embedded = mean, p["embedding"]["embedding"][word]
        if kind != "mean":
            scoring = p["regions"]["attention"]["scoring"]
            query = hidden @ scoring["query"]["kernel"] + scoring["query"]["bias"]
            keys = annotations @ scoring["key"]["kernel"]
            weights.append(softmax(np.tanh(query + keys) @ scoring["vector"]))
            context = weights[-1] @ annotations
            if kind == "hard":
                context = annotations[weights[-1].argmax()]
        context = sigmoid(dense("gate", hidden)) * context
        total = dense("inputs", embedded, "unit") + dense("context", context)
        enter, stay, leave, new = np.split(total + dense("gates", hidden, "unit"), 4)
        cell = sigmoid(stay) * cell + sigmoid(enter) * np.tanh(new)
        hidden = sigmoid(leave) * np.tanh(cell)
        output = embedded + dense("from_state", hidden) + dense("from_context", context)
        logits.append(dense("vocabulary", output))
    return np.array(logits), np.array(weights)


@pytest.mark.parametrize("kind", KINDS)
def test_the_equations_of_the_paper(kind):
    _, params, found = make(kind)
    for row in range(B):
        logits, weights = caption(params, np.asarray(IMAGES[row]), np.asarray(PREVIOUS[row]), kind)
        np.testing.assert_allclose(found.logits[row], logits, rtol=1e-4, atol=1e-4)
        if kind == "mean":
            assert found.weights is None
        else:
            np.testing.assert_allclose(found.weights[row], weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_parameters(kind):
    _, params, _ = make(kind)
    encoder = (CHANNELS + 1) * D + GRID[0] * GRID[1] * D
    lstm = 4 * HIDDEN * (WIDTH + 1 + HIDDEN + D) + 2 * (D + 1) * HIDDEN
    output = V * WIDTH + (HIDDEN + 1) * WIDTH + D * WIDTH + (WIDTH + 1) * V + HIDDEN + 1
    scores = 0 if kind == "mean" else (HIDDEN + 1 + D + 1) * FEATURES
    assert num_parameters(params) == encoder + lstm + output + scores + (kind == "hard")


@pytest.mark.parametrize("kind", KINDS)
def test_steps_of_search_give_the_logits_of_decode(kind):
    network, params, found = make(kind)
    encoded = network.apply(params, IMAGES, method="encode")
    step = jax.jit(functools.partial(network.apply, method="step", capture="all"))
    state = encoded.state
    for time in range(PREVIOUS.shape[1]):
        words = PREVIOUS[:, time : time + 1]
        output = step(params, encoded.memory, state, words)
        state = output.state
        np.testing.assert_allclose(output.logits[:, 0], found.logits[:, time], rtol=1e-4, atol=1e-5)
        if kind != "mean":
            np.testing.assert_allclose(output.weights[:, 0], found.weights[:, time], rtol=1e-4)


@pytest.mark.parametrize(("drawn", "taken"), [(1.0, 1.0), (0.25, 0.25)])
def test_regions_are_drawn_by_their_weights(drawn, taken):
    """The context of a region drawn is that region, and of the others the mean by weights."""
    rows = 3000
    layer = HardRegions(attention(), drawn)
    annotations = jnp.eye(4)[None]
    states = jnp.ones((1, 1, 2))

    def read(layer, states, annotations):
        train = not layer.is_initializing()
        return layer(states, layer.project(annotations), train=train)

    shapes = jax.eval_shape(
        functools.partial(layer.init, method=read), jax.random.key(0), states, annotations
    )
    rng = np.random.default_rng(3)
    params = jax.tree.map(lambda x: jnp.float32(rng.normal(size=x.shape)), shapes)
    found = layer.apply(
        params, jnp.repeat(states, rows, 0), jnp.repeat(annotations, rows, 0), method=read,
        rngs={"sample": per_example_key(jax.random.key(5))},
    )  # fmt: skip
    weights, context = np.asarray(found.weights[0, 0]), np.asarray(found.context[:, 0])
    assert weights.max() < 0.9
    hard = (context == 1).any(axis=1)
    assert abs(hard.mean() - taken) < 0.03
    np.testing.assert_allclose(context[hard].mean(axis=0), weights, atol=0.05)
    np.testing.assert_allclose(context[~hard], np.tile(weights, (rows - hard.sum(), 1)), rtol=1e-5)
    log_probs = np.asarray(found.log_probs[:, 0])
    np.testing.assert_allclose(log_probs[hard], np.log(context[hard] @ weights), rtol=1e-4)
    assert not log_probs[~hard].any()
    np.testing.assert_allclose(found.entropy[0, 0], -np.sum(weights * np.log(weights)), rtol=1e-4)
