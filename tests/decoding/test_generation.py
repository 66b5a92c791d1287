"""Generation: a prompt's text is its own, one program a bucket, ends, stops, beams, refusals."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import Rotary
from attn_research.decoding import programs
from attn_research.decoding.buckets import find_bucket, pad_prompts
from attn_research.decoding.generation import Continuation, generate, stream
from attn_research.decoding.programs import Beam
from attn_research.decoding.sampling import Sampling
from attn_research.layers.decoders import Decoder
from attn_research.layers.embeddings import LearnedPositions
from attn_research.layers.row_products import store_by_output
from attn_research.models.gpt import GPT, LLAMA_BLOCK

VOCAB, MOST, NUM = 23, 40, 6
NETWORKS = {
    "gpt": dict(positions=LearnedPositions(MOST), attention_bias=True, tied=False),
    "llama": dict(block=LLAMA_BLOCK, rotary=Rotary(4, 50.0), num_kv_heads=1),
}
DRAWN = Sampling(temperature=0.9, top_k=12, top_p=0.95)


@functools.cache
def make_case(kind):
    network = GPT(VOCAB, 2, 12, 16, 3, **NETWORKS[kind])
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    rng = np.random.default_rng(5)

    def draw_leaf(path, x):
        # Large biases would write the same token everywhere.
        width = 0.05 if path[-1].key == "bias" else 0.7
        return (width * rng.normal(size=x.shape)).astype(np.float32)

    draw = jax.tree_util.tree_map_with_path(draw_leaf, shapes)
    return network, draw, jax.jit(lambda ids: network.apply(draw, ids).logits)


def run(kind, prompts, keys=None, **options):
    network, params, _ = make_case(kind)
    options = {"num_tokens": NUM, **options}
    return generate(Decoder((network,)), (params,), prompts, keys=keys, **options)


def by_whole_texts(kind, prompt, key, strategy):
    """Each token from the logits of the whole text before it."""
    logits_of, text = make_case(kind)[2], list(prompt)
    draw = jax.jit(strategy.draw)
    for number in range(NUM):
        padded = jnp.array([text + [0] * (MOST - len(text))], jnp.int32)
        logits = np.asarray(logits_of(padded))[:, len(text) - 1]
        text.append(int(draw(logits, jax.random.fold_in(key, number)[None])[0]))
    return tuple(text[len(prompt) :])


def prompts_and_keys():
    rng = np.random.default_rng(11)
    prompts = [rng.integers(0, VOCAB, length).tolist() for length in (1, 3, 17, 9, 2)]
    return prompts, jax.random.split(jax.random.key(4), len(prompts))


@pytest.mark.quick
@pytest.mark.parametrize(("kind", "strategy"), [("gpt", Sampling()), ("llama", DRAWN)])
def test_a_text_depends_on_its_prompt_and_key_alone(kind, strategy):
    prompts, keys = prompts_and_keys()
    expected = [
        by_whole_texts(kind, prompt, key, strategy)
        for prompt, key in zip(prompts, keys, strict=True)
    ]
    assert len(set(expected)) == len(expected)
    batches = [([0, 1, 2, 3, 4], 3), ([3, 2, 4, 1, 0, 1], 32), ([4, 2], 32), ([2, 0], 32)]
    for batch, chunk in batches:
        found = run(
            kind, [prompts[i] for i in batch], keys[np.array(batch)], strategy=strategy, chunk=chunk
        )
        for index, each in zip(batch, found, strict=True):
            assert each == Continuation(expected[index], "length"), (index, batch, chunk)


def test_a_bucket_has_one_program():
    network, params, _ = make_case("llama")
    programs.advance.clear_cache()
    for lengths in ((1, 2), (7, 9), (12, 3), (16, 16)):
        for num_tokens in (1, 5, 16, 40):
            prompts = [[1] * length for length in lengths]
            for _ in stream(
                Decoder((network,)), (params,), prompts, num_tokens=num_tokens, every=9
            ):
                pass
    # Of 64 and of 96 slots.
    assert programs.advance._cache_size() == 2


def test_buckets_hold_prompts_and_continuations():
    for lengths, num_tokens in itertools.product(
        ((1,), (32, 5), (33, 1, 2), (700, 9)), (1, 31, 600)
    ):
        prompts = [list(range(1, length + 1)) for length in lengths]
        bucket = find_bucket(prompts, num_tokens, None)
        padded = pad_prompts(prompts, bucket)
        assert bucket.rows >= len(prompts) and padded.num_chunks * bucket.chunk >= max(lengths) - 1
        assert padded.num_chunks * bucket.chunk + num_tokens <= bucket.num_slots
        for row, prompt in enumerate(prompts):
            assert padded.ids[row][padded.valid[row]].tolist() == prompt[:-1]
            assert padded.last[row] == prompt[-1]


def test_a_stream_gives_the_same_tokens_as_they_come():
    network, params, _ = make_case("gpt")
    prompts, keys = prompts_and_keys()
    whole = run("gpt", prompts, keys, strategy=DRAWN)
    options = dict(num_tokens=NUM, strategy=DRAWN, keys=keys, every=4)
    news = list(stream(Decoder((network,)), (params,), prompts, **options))
    assert [len(each[0].tokens) for each in news] == [4, 2]
    for row, text in enumerate(whole):
        assert sum((each[row].tokens for each in news), ()) == text.tokens
        assert [each[row].reason for each in news] == [None, "length"]


def test_ends_and_stops_are_those_of_each_text():
    prompts, _ = prompts_and_keys()
    whole = [each.tokens for each in run("gpt", prompts)]
    end = whole[2][3]
    for each, tokens in zip(run("gpt", prompts, end=[end]), whole, strict=True):
        if end in tokens:
            assert each == Continuation(tokens[: tokens.index(end)], "end")
        else:
            assert each == Continuation(tokens, "length")
    lengths = [1, 6, 9, 4, 2]
    found = run("gpt", prompts, stop=lambda index, tokens: len(tokens) >= lengths[index])
    for each, tokens, length in zip(found, whole, lengths, strict=True):
        reason = "length" if length > NUM else "stop"
        assert each == Continuation(tokens[:length], reason)


def test_several_networks_are_the_mean_of_their_distributions():
    network, params, _ = make_case("gpt")
    other = jax.tree.map(lambda x: x[..., ::-1].copy(), params)
    found = generate(Decoder((network, network)), (params, other), [[3, 4]], num_tokens=1)
    ids = jnp.array([[3, 4]])
    each = [jax.nn.softmax(network.apply(p, ids).logits[0, -1]) for p in (params, other)]
    assert found[0].tokens == (int((each[0] + each[1]).argmax()),)


def test_a_beam_finds_the_best_text_of_all(kind="llama"):
    """A beam that holds every first token, in a batch or alone."""
    logits_of, end = make_case(kind)[2], 5
    prompts = [[3, 1, 4, 1], [2], [6, 5, 3]]
    options = dict(strategy=Beam(VOCAB + 1, alpha=0.0), num_tokens=2, end=[end])
    texts = run(kind, prompts, **options)
    assert run(kind, prompts[:1], chunk=2, **options)[0].tokens == texts[0].tokens
    for prompt, found in zip(prompts, texts, strict=True):
        rows = jnp.array([[*prompt, token] for token in range(VOCAB)])
        both = jax.nn.log_softmax(logits_of(rows))
        first, second = both[0, len(prompt) - 1], both[:, len(prompt)]
        scores = {(): first[end]}
        for one, two in itertools.product(range(VOCAB), repeat=2):
            if one != end:
                text = (one,) if two == end else (one, two)
                scores[text] = first[one] + second[one, two]
        best = max(scores, key=lambda text: float(scores[text]))
        assert found.tokens == best
        np.testing.assert_allclose(found.log_prob, scores[best], atol=1e-4)


def test_a_beam_of_one_is_greedy_search():
    prompts, _ = prompts_and_keys()
    greedy = [each.tokens for each in run("llama", prompts)]
    found = run("llama", prompts, strategy=Beam(1), chunk=5)
    assert [each.tokens for each in found] == greedy


@pytest.mark.parametrize("kind", NETWORKS)
def test_weights_by_output_write_the_same_text_and_int8_nearly_so(kind):
    network, params, _ = make_case(kind)
    prompts, _ = prompts_and_keys()
    stored = store_by_output(params)
    decoder = Decoder((network,))
    assert generate(decoder, (stored,), prompts, num_tokens=NUM) == run(kind, prompts)
    small = store_by_output(params, "int8")
    sizes = [sum(x.nbytes for x in jax.tree.leaves(tree)) for tree in (stored, small)]
    assert sizes[1] < 0.6 * sizes[0]  # of matrices of this width, whose scales are a third
    ids = jnp.array([[prompts[3]]])
    logits, _ = decoder.extend((small,), decoder.begin((small,), 1, 16), ids)
    expected = make_case(kind)[2](ids[0])[:, -1:]
    error = float(jnp.abs(logits - expected).max() / jnp.abs(expected).max())
    assert 1e-4 < error < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(prompts=[[1], []]), "prompt 2 is empty: a continuation needs a token before it"),
        (dict(prompts=[]), "no prompt to continue"),
        (dict(num_tokens=0), "0 tokens in chunks of None: give 1 or more of each"),
        (dict(chunk=0), "6 tokens in chunks of 0: give 1 or more of each"),
        (
            dict(prompts=[[1] * 36]),
            "a prompt of 36 tokens and 6 after it: a text of 41 tokens is longer than 40 positions",
        ),
        (dict(strategy=DRAWN), "sampling at a temperature draws by keys"),
        (dict(keys=jax.random.split(jax.random.key(0), 3)), "3 keys for 1 prompts"),
    ],
)
def test_what_cannot_be_continued_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        run("gpt", **{"prompts": [[1]], **options})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sampling(-1.0), "temperature -1.0: give a number from 0 on"),
        (lambda: Sampling(float("nan")), "temperature nan"),
        (lambda: Sampling(top_k=-1), "top_k -1: give 1 or more, or 0 for all tokens"),
        (lambda: Sampling(top_p=0.0), "top_p 0.0: give a probability"),
        (lambda: Beam(0), "beam_size 0: give 1 or more"),
    ],
)
def test_strategies_of_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_text_may_fill_all_positions():
    assert len(run("gpt", [[1] * 35])[0].tokens) == NUM
