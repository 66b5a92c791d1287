"""Language modelling: likelihoods, packing, continuations, and GPT's experiment at tiny scale."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.data.text.rows import collate, ordered_batches, strided
from experiments.gpt2018.paper import PAPER
from experiments.harness.paper import resolve
from experiments.harness.program import make_program
from experiments.harness.run_folder import load_run
from experiments.harness.runner import measure
from experiments.harness.verify import verify
from experiments.papers import find
from experiments.tasks.language_modeling.inference import Members
from tests.experiments.runs import run

COUNTS = {
    "GPT": 116_534_784,
    "GPT-2": 124_439_808,
    "GPT-2-medium": 354_823_168,
    "GPT-2-large": 774_030_080,
    "GPT-2-xl": 1_557_611_200,
}
LINES = ("to be , or not to be", "", "that is the question", "whether 't is nobler", "to die")
TINY = dict(scale="tiny", context=8, num_steps=4, eval_every=2, save_every=2, sample_length=11)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Flags of a data set of one's own."""
    folder = tmp_path_factory.mktemp("text")
    for split, times in (("train", 9), ("dev", 2), ("test", 3)):
        (folder / f"{split}.txt").write_text("\n".join(LINES * times) + "\n")
    files = {split: str(folder / f"{split}.txt") for split in ("train", "dev", "test")}
    return dict(data="text", tokenizer="characters", **files)


@pytest.fixture(scope="module")
def finished(text, tmp_path_factory):
    """The folder of a run of which every part was measured."""
    folder = tmp_path_factory.mktemp("gpt2018") / "text-tiny"
    run(PAPER, "small", folder, **TINY, **text, schedule="constant", temperature=0.0)
    PAPER.report(folder / "results", PAPER)
    return folder


def make(text, **given):
    """A loaded program and parameters that are not near zero."""
    config = resolve(PAPER, "small", TINY | text | given)
    program = make_program(PAPER, config, PAPER.task(config).load())
    shapes, rng = program.state_shapes().params, np.random.default_rng(0)
    draw = jax.tree.map(lambda x: jnp.array(0.5 * rng.normal(size=x.shape), x.dtype), shapes)
    return program, draw


@pytest.mark.parametrize("row", COUNTS)
def test_rows_of_published_sizes_have_the_published_parameters(row):
    program = make_program(PAPER, resolve(PAPER, row, {"scale": "paper"}))
    assert sum(x.size for x in jax.tree.leaves(program.state_shapes().params)) == COUNTS[row]


def test_the_perplexity_of_a_uniform_model_is_the_size_of_its_vocabulary(text):
    program, params = make(text)
    zeros = jax.tree.map(jnp.zeros_like, params)
    vocab_size = program.task.vocab_size
    assert vocab_size == len(set("\n".join(LINES)))
    found = measure(program, zeros, "dev")
    assert found["perplexity"] == pytest.approx(vocab_size, rel=1e-5)
    assert found["bits_per_character"] == pytest.approx(np.log2(vocab_size), rel=1e-5)


def test_bits_of_bytes_are_those_of_characters(tmp_path):
    files = {}
    for split in ("train", "dev", "test"):
        files[split] = str(tmp_path / split)
        (tmp_path / split).write_text("né à Évry\n" * 3)  # 10 characters, 13 bytes a line
    program, params = make(dict(data="text", tokenizer="bytes", **files))
    found = measure(program, jax.tree.map(jnp.zeros_like, params), "dev")
    assert found["perplexity"] == pytest.approx(256, rel=1e-5)
    assert found["bits_per_character"] == pytest.approx(8 * 13 / 10, rel=1e-5)


def full_pass(network, params, stream):
    """The log-probability of every token, by one pass over the whole text."""
    logits = network.apply(params, jnp.asarray(stream.before[None])).logits[0]
    chosen = jnp.take_along_axis(
        jax.nn.log_softmax(logits), jnp.asarray(stream.ids)[:, None], axis=-1
    )
    return np.asarray(chosen)[:, 0]


def test_strided_scoring_equals_the_full_pass_where_the_context_suffices(text):
    # Two layers that each attend to the three tokens before: six tokens decide a seventh.
    options = dict(positions="rotary", mask="local_m", half_width=3)
    program, params = make(text, **options)
    network, stream = program.network, program.task.data.dev
    expected = full_pass(network, params, stream)
    members = Members((network,), (params,), 8)
    documents = stream.documents("text")
    found = members.log_probs(stream, strided(documents, 8, 2), packed=False)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    fewer = members.log_probs(stream, strided(documents, 8, 8), packed=False)
    assert np.abs(fewer - expected).max() > 0.1
    # An ensemble of one network twice is the network.
    twice = Members((network,) * 2, (params,) * 2, 8)
    again = twice.log_probs(stream, strided(documents, 8, 2), packed=False)
    np.testing.assert_allclose(again, expected, atol=2e-5)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_packed_rows_have_the_loss_and_gradients_of_rows_of_their_own(text, positions):
    program, params = make(text, rows="packed", context=16, positions=positions)
    stream = program.task.data.dev
    pieces = strided(stream.documents("line"), 16, 16)
    (_, packed), *more = ordered_batches(stream, pieces, 14, 16, packed=True)
    assert not more and packed["segments"].max() > 1
    alone, _ = collate(stream, [piece[None] for piece in pieces], 16, segments=False)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def mean_loss(params, batch):
        sums = program.loss(params, jax.tree.map(jnp.asarray, batch), jax.random.key(0))
        return sums.total / sums.weight, sums.weight

    (loss, tokens), gradient = mean_loss(params, packed)
    (expected, weight), wanted = mean_loss(params, alone)
    assert tokens == weight == len(stream)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), gradient, wanted)


def test_a_run_writes_a_verifiable_table_with_a_sample(finished):
    results = finished / "results"
    assert all(holds for *_, holds in verify(results, find))
    result = json.loads((results / "small.seed0.json").read_text())
    found = result["scores"]["tests"]["test"]
    characters = 3 * sum(len(line) + 1 for line in LINES)
    assert {each["tokens"] for each in found.values()} == {characters}
    for each in found.values():
        assert each["loss"] == pytest.approx(np.log(each["perplexity"]), abs=1e-4)
        assert each["bits_per_character"] == pytest.approx(each["loss"] / np.log(2), abs=1e-4)
    lines = (results / "small.seed0" / "test.strided.tsv").read_text().splitlines()
    assert lines[1].startswith("21\t8\t21\t-") and len(lines) == 1 + 3 * len(LINES)
    sample = (results / "small.seed0" / "sample.txt").read_text().split()
    assert f"    {sample[0]}" in (results / "tables.md").read_text()


def test_an_edited_likelihood_fails_the_verification(finished):
    path = finished / "results" / "small.seed0" / "test.windows.tsv"
    before = path.read_text()
    for edited in (before.replace("\t-", "\t-1"), "tokens\n" + before, before + "1\t2\n"):
        path.write_text(edited)
        try:
            assert not all(holds for *_, holds in verify(finished / "results", find))
        finally:
            path.write_text(before)


def test_a_run_that_is_continued_is_the_whole_run(finished, text, tmp_path):
    """Of a schedule that does not depend on the number of steps."""
    given = TINY | text | dict(schedule="constant", temperature=0.0)
    run(PAPER, "small", tmp_path, **(given | {"num_steps": 2}))
    run(PAPER, "small", tmp_path, resume=True, **given)
    for name in ("test.strided.tsv", "test.windows.tsv", "sample.txt"):
        place = f"results/small.seed0/{name}"
        assert (tmp_path / place).read_bytes() == (finished / place).read_bytes()


def test_a_prompt_is_continued_greedily_with_maps_of_every_head(finished):
    found = load_run(finished / "runs" / "small.seed0", find)
    prompt = "to be , or"
    (response,) = found.task.respond([found.network], [found.params], [prompt])
    assert response.output.startswith(prompt) and len(response.output) == len(prompt) + 11
    # The first token after the prompt is the most probable one after its last half of a context.
    ids = found.task.tokenizer.encode(prompt)[-4:]
    logits = found.network.apply(found.params, jnp.asarray(ids[None])).logits[0, -1]
    assert found.task.tokenizer.encode(response.output)[len(prompt)] == int(logits.argmax())
    assert set(response.maps) == {f"layer {i}, head {j}" for i in (1, 2) for j in (1, 2)}
    one = response.maps["layer 2, head 1"]
    assert list(one.rows) == list(" be , or"), "a row for each token of the context"
    np.testing.assert_allclose(one.weights.sum(axis=1), 1, rtol=1e-5)
    assert response.scores["prompt_per_token"] * 10 == pytest.approx(
        response.scores["prompt_log_probability"]
    )
    with pytest.raises(ValueError, match="the character 'Ω'"):
        list(found.task.respond([found.network], [found.params], ["Ω"]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": "text"}, "--data=text needs --train=FILE"),
        ({"data": "text", "train": "absent.txt"}, "--train: no such file: absent.txt"),
        ({"context": 4, "stride": 5}, "--stride=5 is more than --context=4"),
        ({"top_p": 1.5}, "--top_p=1.5: a probability, at most 1"),
    ],
)
def test_what_cannot_run_is_refused_before_text_is_read(given, message):
    task = PAPER.task(resolve(PAPER, "small", {"scale": "tiny"} | given))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        task.check()
