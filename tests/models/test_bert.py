"""BERT: published parameter counts, heads, packed rows, masked positions alone, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import BigBird, Causal, Global, Window
from attn_research.layers.longformer import LongformerAttention
from attn_research.layers.transformer import DecoderBlock
from attn_research.models.bert import HEADS, SIZES, Bert

PRETRAINING = "pooler", "masked_lm", "next_sentence"
UNCASED, CASED, ROBERTA = 30_522, 28_996, 50_265


@functools.cache
def sizes_of_parts(size, vocab_size, **options):
    """The parameters of each part of a network that has all heads."""
    network = Bert(vocab_size, *SIZES[size], heads=(*PRETRAINING, "classifier"), **options)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    parts = shapes["params"].items()
    return {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in parts}


def count(size, vocab_size, heads=(), **options):
    parts = sizes_of_parts(size, vocab_size, **options).items()
    return sum(number for name, number in parts if name not in HEADS or name in heads)


ROBERTA_OPTIONS = dict(max_length=514, num_types=1, first_position=2)
COUNTS = {
    "base": ("base", UNCASED, (), 108_891_648),
    "base, pooler": ("base", UNCASED, ("pooler",), 109_482_240),
    "base, masked words": ("base", UNCASED, ("masked_lm",), 109_514_298),
    "base, pre-training": ("base", UNCASED, PRETRAINING, 110_106_428),
    "base, 2 classes": ("base", UNCASED, ("pooler", "classifier"), 109_483_778),
    "large": ("large", UNCASED, (), 334_092_288),
    "large, pooler": ("large", UNCASED, ("pooler",), 335_141_888),
    "large, masked words": ("large", UNCASED, ("masked_lm",), 335_174_458),
    "large, pre-training": ("large", UNCASED, PRETRAINING, 336_226_108),
    "base cased, pooler": ("base", CASED, ("pooler",), 108_310_272),
    "base cased, masked words": ("base", CASED, ("masked_lm",), 108_340_804),
    "large cased, pooler": ("large", CASED, ("pooler",), 333_579_264),
    "large cased, masked words": ("large", CASED, ("masked_lm",), 333_610_308),
    "RoBERTa base, pooler": ("base", ROBERTA, ("pooler",), 124_645_632),
    "RoBERTa base, masked words": ("base", ROBERTA, ("masked_lm",), 124_697_433),
    "RoBERTa large, pooler": ("large", ROBERTA, ("pooler",), 355_359_744),
    "RoBERTa large, masked words": ("large", ROBERTA, ("masked_lm",), 355_412_057),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_as_published(name):
    size, vocab_size, heads, expected = COUNTS[name]
    options = ROBERTA_OPTIONS if vocab_size == ROBERTA else {}
    assert count(size, vocab_size, heads=heads, **options) == expected


LONGFORMER = ROBERTA_OPTIONS | dict(
    max_length=4098, attention=LongformerAttention, mask=Window(256, 256) | Global(0, 0)
)
BIG_BIRD = dict(max_length=4096, mask=BigBird(num_heads=12))
SPARSE_COUNTS = {
    "Longformer base": ("base", ROBERTA, (), LONGFORMER, 148_068_864),
    "Longformer base, pooler": ("base", ROBERTA, ("pooler",), LONGFORMER, 148_659_456),
    "Longformer base, masked words": ("base", ROBERTA, ("masked_lm",), LONGFORMER, 148_711_257),
    "Longformer large": ("large", ROBERTA, (), LONGFORMER, 433_551_360),
    "Longformer large, pooler": ("large", ROBERTA, ("pooler",), LONGFORMER, 434_600_960),
    "Longformer large, masked words": ("large", ROBERTA, ("masked_lm",), LONGFORMER, 434_653_273),
    "BigBird base": ("base", 50_358, ("pooler",), BIG_BIRD, 127_468_800),
    "BigBird base, masked words": ("base", 50_358, PRETRAINING[:2], BIG_BIRD, 128_111_286),
    "BigBird base, pre-training": ("base", 50_358, PRETRAINING, BIG_BIRD, 128_112_824),
    "BigBird large": ("large", 50_358, ("pooler",), BIG_BIRD, 359_123_968),
    "BigBird large, masked words": ("large", 50_358, PRETRAINING[:2], BIG_BIRD, 360_225_974),
}


@pytest.mark.parametrize("name", SPARSE_COUNTS)
def test_parameter_counts_of_sparse_encoders_as_published(name):
    size, vocab_size, heads, options, expected = SPARSE_COUNTS[name]
    assert count(size, vocab_size, heads=heads, **options) == expected


def test_shared_layers_and_narrow_embeddings_are_counted_once():
    # ALBERT base, Lan et al. 2019: 12 layers of 768, embeddings of 128, 30,000 words.
    layer = 4 * (768**2 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
    embeddings = (30_000 + 512 + 2) * 128 + 2 * 128 + 129 * 768
    albert = dict(embedding_dim=128, share_layers=True)
    assert count("base", 30_000, **albert) == embeddings + layer
    assert count("base", 30_000, embedding_dim=128) == embeddings + 12 * layer
    assert count("base", 30_000, heads=("pooler",), **albert) == 11_683_584


VOCAB = 13
IDS = jnp.array([[3, 4, 5, 6, 7], [8, 9, 10, 11, 12]])


@functools.cache
def make_case(heads=("pooler", "masked_lm", "next_sentence", "classifier"), **options):
    sizes = dict(num_layers=2, model_dim=6, mlp_dim=10, num_heads=3, max_length=9)
    network = Bert(VOCAB, heads=heads, num_classes=4, **sizes | options)
    shapes = jax.eval_shape(network.init, jax.random.key(0), IDS)
    rng = np.random.default_rng(0)
    draw = jax.tree.map(lambda x: jnp.array(0.7 * rng.normal(size=x.shape), jnp.float32), shapes)
    return network, draw, jax.jit(network.apply)


def test_heads_read_states():
    network, params, run = make_case()
    found = run(params, IDS)
    shapes = {name: array.shape for name, array in found.heads.items()}
    assert shapes == {
        "pooler": (2, 6),
        "masked_lm": (2, 5, VOCAB),
        "next_sentence": (2, 2),
        "classifier": (2, 4),
    }
    p = jax.tree.map(np.asarray, params["params"])
    pooler = p["pooler"]["dense"]
    pooled = np.tanh(np.asarray(found.states)[:, 0] @ pooler["kernel"] + pooler["bias"])
    np.testing.assert_allclose(found.heads["pooler"], pooled, atol=1e-5)
    classes = pooled @ p["classifier"]["kernel"] + p["classifier"]["bias"]
    np.testing.assert_allclose(found.heads["classifier"], classes, atol=1e-5)
    # The words of chosen positions alone, as training needs them.
    chosen = found.states[jnp.array([0, 1, 1]), jnp.array([4, 0, 2])]
    logits = network.apply(params, chosen, method="word_logits")
    expected = found.heads["masked_lm"][jnp.array([0, 1, 1]), jnp.array([4, 0, 2])]
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_packed_texts_equal_separate_texts():
    _, params, run = make_case(first_position=3, embedding_dim=4, share_layers=True)
    parts = [np.array(ids) for ids in ([3, 4, 5], [6, 7], [8, 9, 10])]
    row = np.concatenate([*parts, [0]])[None]
    segments = np.array([[1, 1, 1, 2, 2, 3, 3, 3, 0]])
    packed, start = run(params, row, segments=segments), 0
    for ids in parts:
        alone = run(params, ids[None]).states
        place = slice(start, start + len(ids))
        np.testing.assert_allclose(packed.states[:, place], alone, atol=2e-5)
        start += len(ids)


def test_token_types_and_the_first_position_choose_rows_of_their_tables():
    _, params, run = make_case()
    types = jnp.array([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]])
    np.testing.assert_array_equal(run(params, IDS).states, run(params, IDS, types=0 * types).states)
    assert np.abs(run(params, IDS, types=types).states - run(params, IDS).states).max() > 1e-2
    places = jnp.broadcast_to(jnp.arange(5), (2, 5))
    _, _, later = make_case(first_position=3)
    expected = run(params, IDS, positions=places + 3).states
    np.testing.assert_array_equal(later(params, IDS).states, expected)


def test_layers_are_shared_and_captured():
    network, params, run = make_case(share_layers=True)
    found = jax.jit(functools.partial(network.apply, capture="all"))(params, IDS)
    assert found.layers.shape == (2, 3, 5, 6) and found.weights.shape == (2, 2, 3, 5, 5)
    np.testing.assert_allclose(found.layers[:, -1], found.states, atol=1e-6)
    assert run(params, IDS).layers is None
    _, _, stacked = make_case()
    blocks = jax.tree.map(lambda x: jnp.stack([x, x]), params["params"]["blocks"])
    same = {"params": params["params"] | {"blocks": blocks}}
    np.testing.assert_allclose(stacked(same, IDS).states, found.states, atol=1e-5)


def test_a_mask_bounds_attention():
    network, params, _ = make_case(mask=Window(1, 0))
    weights = jax.jit(functools.partial(network.apply, capture="all"))(params, IDS).weights
    band = np.tri(5, dtype=bool) & ~np.tri(5, k=-2, dtype=bool)
    np.testing.assert_array_equal(np.asarray(weights) > 0, np.broadcast_to(band, weights.shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_heads=4), "model_dim 6 is not a multiple of num_heads 4"),
        (dict(heads=("mlm",)), "head 'mlm' is not one of pooler, masked_lm"),
        (dict(heads=("classifier",)), 'head "classifier" reads what "pooler" makes'),
        (dict(max_length=7, first_position=3), "text of 5 tokens is longer than 4 positions"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    sizes = dict(num_layers=1, model_dim=6, mlp_dim=10, num_heads=3)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(Bert(VOCAB, **sizes | options).init, jax.random.key(0), IDS)


def test_with_a_causal_mask_the_blocks_are_those_of_gpt():
    network, params, _ = make_case(mask=Causal())
    found = jax.jit(functools.partial(network.apply, capture="all"))(params, IDS)
    bound = network.bind(params)
    block = DecoderBlock(bound.blocks.attention.clone(parent=None), 10, bound.blocks.config)
    states = found.layers[:, 0]
    for layer in range(2):
        own = jax.tree.map(lambda x, i=layer: x[i], params["params"]["blocks"])
        states, _, weights = block.apply({"params": own}, states, Causal(), capture="all")
        np.testing.assert_allclose(states, found.layers[:, layer + 1], atol=1e-6)
        np.testing.assert_allclose(weights.attention, found.weights[:, layer], atol=1e-6)
    both = jax.jit(make_case()[0].apply)(params, IDS).states
    assert jnp.abs(both - found.states).max() > 0.01
