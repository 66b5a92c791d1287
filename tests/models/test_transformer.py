"""The Transformer: the paper's parameter counts, chunks of any size, positions, and its dropout."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Window
from attn_research.data.text.tokenizers import BOS, EOS, PAD
from attn_research.layers.embeddings import sinusoids
from attn_research.models.transformer import Transformer
from tests.models.shapes import encoder_decoder_shapes, num_parameters

BASE = dict(num_layers=6, model_dim=512, mlp_dim=2048, num_heads=8)
ROWS = {
    "base": ({}, 63_045_632, 63_082_496),
    "(A) 1 head": (dict(num_heads=1), 63_045_632, 63_082_496),
    "(A) 32 heads": (dict(num_heads=32), 63_045_632, 63_082_496),
    "(B) d_k 16": (dict(head_dim=16, value_dim=64), 55_967_744, 55_990_784),
    "(B) d_k 32": (dict(head_dim=32, value_dim=64), 58_327_040, 58_354_688),
    "(C) N 2": (dict(num_layers=2), 33_644_544, 33_656_832),
    "(C) N 4": (dict(num_layers=4), 48_345_088, 48_369_664),
    "(C) N 8": (dict(num_layers=8), 77_746_176, 77_795_328),
    "(C) d 256": (dict(model_dim=256), 26_816_512, 26_834_944),
    "(C) d 1024": (dict(model_dim=1024), 163_815_424, 163_889_152),
    "(C) d_ff 1024": (dict(mlp_dim=1024), 50_450_432, 50_487_296),
    "(C) d_ff 4096": (dict(mlp_dim=4096), 88_236_032, 88_272_896),
    "big": (dict(model_dim=1024, mlp_dim=4096, num_heads=16), 214_171_648, 214_245_376),
}


def count(**sizes):
    return num_parameters(encoder_decoder_shapes(Transformer(37_000, 37_000, **sizes)))


@pytest.mark.parametrize("row", ROWS)
def test_parameter_counts_of_table_3(row):
    changes, without, with_biases = ROWS[row]
    assert count(**BASE | changes) == without
    assert count(**BASE | changes, attention_bias=True) == with_biases


def test_parameter_count_of_the_tiny_transformer_of_wu_et_al():
    sizes = dict(num_layers=4, model_dim=128, mlp_dim=256, num_heads=4, attention_bias=True)
    assert count(**sizes) + (9_712 - 37_000) * 128 == 2_568_192


SOURCE = jnp.array([[4, 5, 6, 7, 8, 9, EOS], [10, 9, 6, EOS, PAD, PAD, PAD]], jnp.int32)
PREVIOUS = jnp.array([[BOS, 5, 6, 7, 8], [BOS, 9, 9, 4, 5]], jnp.int32)
T = PREVIOUS.shape[1]


@functools.cache
def make_case(**options):
    network = Transformer(11, 11, num_layers=2, model_dim=6, mlp_dim=10, num_heads=3, **options)
    shapes = encoder_decoder_shapes(network)
    rng = np.random.default_rng(0)
    return network, jax.tree.map(lambda x: jnp.array(0.8 * rng.normal(size=x.shape)), shapes)


def splits(total):
    """Every way to write a number as a sum, in order."""
    if not total:
        yield ()
    for first in range(1, total + 1):
        yield from ((first, *rest) for rest in splits(total - first))


def test_decoding_in_chunks_equals_the_full_pass():
    network, params = make_case()
    whole = jax.jit(network.apply)(params, SOURCE, SOURCE != PAD, PREVIOUS).logits
    encode = jax.jit(functools.partial(network.apply, method="encode"))
    encoded = encode(params, SOURCE, SOURCE != PAD)
    extend = jax.jit(functools.partial(network.apply, method="extend"))
    for chunks in splits(T):
        state, start, found = network.apply(params, encoded, T + 1, method="begin"), 0, []
        for size in chunks:
            tokens = PREVIOUS[:, None, start : start + size]
            logits, state, _ = extend(params, encoded.memory, state, tokens)
            found.append(logits[:, 0])
            start += size
        np.testing.assert_allclose(np.concatenate(found, 1), whole, atol=2e-5, err_msg=str(chunks))


def test_packed_sentences_equal_separate_sentences():
    network, params = make_case(pre_norm=True)
    sources = [np.array(ids) for ids in ([4, 5, 6, EOS], [9, 8, EOS], [7, EOS])]
    previous = [np.array(ids) for ids in ([BOS, 5], [BOS, 10, 4, 4], [BOS, 6, 9])]

    def row(parts, length):
        ids, numbers = np.zeros((2, 1, length), np.int32)
        joined = np.concatenate(parts)
        ids[0, : len(joined)] = joined
        numbers[0, : len(joined)] = np.repeat(np.arange(1, len(parts) + 1), list(map(len, parts)))
        return ids, numbers

    (source, of_source), (target, of_target) = row(sources, 11), row(previous, 10)
    run = jax.jit(functools.partial(network.apply, method="hidden_states"))
    segments = of_source, of_target
    packed = run(params, source, of_source > 0, target, segments=segments).states
    start = 0
    for words, before in zip(sources, previous, strict=True):
        alone = run(params, words[None], np.ones((1, len(words)), bool), before[None]).states
        np.testing.assert_allclose(packed[:, start : start + len(before)], alone, atol=2e-5)
        start += len(before)


def test_earlier_logits_have_no_gradient_from_later_words():
    network, params = make_case()
    vectors = jnp.array(np.random.default_rng(1).normal(size=(11, 6)))

    def totals(vectors):
        changed = params | {
            "params": params["params"] | {"source_embedding": {"embedding": vectors}}
        }
        # Word 10 stands last in the target alone, so that its vector shows who sees it.
        target = PREVIOUS.at[0, -1].set(10)
        source = SOURCE[:1]
        logits = network.apply(changed, source, source != PAD, target[:1]).logits
        return jnp.sum(jnp.sin(logits[0, :, :10]), axis=-1)

    seen = np.abs(jax.jit(jax.jacrev(totals))(vectors)[:, 10]).max(axis=-1)
    assert not seen[:-1].any() and seen[-1] > 1e-3


def reached(network, params, side):
    """Which words of a sentence of distinct words the states of that side depend on."""
    source, previous = jnp.arange(4, 11)[None], jnp.arange(3, 8)[None]
    valid = jnp.ones(source.shape, bool)
    encoded = network.apply(params, source, valid, method="encode")
    table = params["params"]["source_embedding"]["embedding"]

    def states(table):
        changed = params | {"params": params["params"] | {"source_embedding": {"embedding": table}}}
        if side == "encoder":
            return network.apply(changed, source, valid, method="encode").memory.states[0]
        return network.apply(changed, encoded, previous, method="decode_states").states[0]

    gradients = np.abs(jax.jit(jax.jacrev(states))(table)).max(axis=(1, 3))
    return gradients[:, (source if side == "encoder" else previous)[0]] > 1e-6


def test_masks_limit_the_receptive_fields_of_encoder_and_decoder():
    network, params = make_case()
    assert reached(network, params, "encoder").all()
    np.testing.assert_array_equal(reached(network, params, "decoder"), np.tri(5, dtype=bool))
    network, _ = make_case(mask=Window(1, 0), decoder_mask=Window(1, 1))
    # Two blocks, each a word farther; the decoder's window ends at the word itself.
    band = np.tri(7, dtype=bool) & ~np.tri(7, k=-3, dtype=bool)
    np.testing.assert_array_equal(reached(network, params, "encoder"), band)
    np.testing.assert_array_equal(reached(network, params, "decoder"), band[:5, :5])


def test_sinusoids_equal_the_paper_and_shift_linearly():
    width, positions = 6, np.arange(9)
    found = np.asarray(sinusoids(jnp.array(positions), width))
    for i in range(width // 2):
        angle = positions / 10_000 ** (2 * i / width)
        np.testing.assert_allclose(found[:, 2 * i], np.sin(angle), atol=1e-6)
        np.testing.assert_allclose(found[:, 2 * i + 1], np.cos(angle), atol=1e-6)
    # PE(pos + 3) turns every pair by one angle, the same for every pos.
    turn = np.exp(-3j / 10_000 ** (np.arange(0, width, 2) / width))
    pairs = found[:, 1::2] - 1j * found[:, 0::2]  # cos - i sin
    np.testing.assert_allclose(pairs[3:], pairs[:-3] * turn, atol=1e-6)
    with pytest.raises(ValueError, match="width 5 is odd"):
        sinusoids(jnp.arange(3), 5)


def test_dropout_differs_by_key_and_applies_only_in_training():
    network, params = make_case(dropout=0.3, attention_dropout=0.2)

    @functools.partial(jax.jit, static_argnums=1)
    def run(key, train):
        return network.apply(
            params, SOURCE, SOURCE != PAD, PREVIOUS, train=train, rngs={"dropout": key}
        ).logits

    one, other = map(jax.random.key, (0, 1))
    np.testing.assert_array_equal(run(one, True), run(one, True))
    assert np.abs(run(one, True) - run(other, True)).max() > 1e-2
    plain, _ = make_case()
    expected = jax.jit(plain.apply)(params, SOURCE, SOURCE != PAD, PREVIOUS).logits
    np.testing.assert_allclose(run(one, False), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (dict(target_vocab=12), "tied words need one vocabulary, not 11 and 12"),
        (dict(num_heads=4), "model_dim 6 is not a multiple of num_heads 4"),
    ],
)
def test_incompatible_sizes_are_refused(sizes, message):
    every = dict(
        source_vocab=11, target_vocab=11, num_layers=2, model_dim=6, mlp_dim=10, num_heads=3
    )
    ids = jnp.zeros((1, 2), jnp.int32)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(Transformer(**every | sizes).init, jax.random.key(0), ids, ids == 0, ids)
