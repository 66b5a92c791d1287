"""The papers on speech at tiny scale, through their rows, results and responses."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from attn_research.data.audio.files import RATE
from attn_research.data.audio.mel import log_mel
from attn_research.data.audio.utterances import Utterance
from attn_research.data.batching import all_rows
from experiments.harness.paper import resolve
from experiments.harness.run_folder import load_run
from experiments.harness.verify import verify
from experiments.papers import find
from experiments.tasks.speech import alignments
from experiments.tasks.speech.batches import one
from experiments.tasks.speech.data import hear, read
from experiments.tasks.speech.inference import word_rows
from experiments.whisper2022.classification.paper import PAPER as WORDS
from experiments.whisper2022.paper import PAPER
from tests.experiments.runs import run

ROW = "transcribe.seed0"


def trained(paper, row, folder, **given):
    run(paper, row, folder, scale="tiny", **given)
    paper.report(folder / "results", paper)
    return folder


@pytest.fixture(scope="module")
def strings(tmp_path_factory):
    return trained(PAPER, "transcribe", tmp_path_factory.mktemp("whisper2022") / "tones-tiny")


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words") / "tones-tiny"
    short = dict(num_steps=2, eval_every=2, save_every=2, warmup_steps=1)
    run(WORDS, "additive-new-speaker", folder, scale="tiny", **short)
    return trained(WORDS, "vit", folder)


def test_strings_have_a_verifiable_table_and_a_picture(strings):
    results = strings / "results"
    assert all(holds for *_, holds in verify(results, find))
    assert "inside, best head" in (results / "tables.md").read_text()
    scores = json.loads((results / f"{ROW}.json").read_text())["scores"]["tests"]["test"]
    assert scores["sounds"] == 6 and scores["wer_greedy"] > 0 and scores["wer_beam"] > 0
    assert 0 < scores["inside_even"] < 1 and 0 < scores["inside"] < 1
    assert (results / ROW / "attention.png").stat().st_size > 1000


def test_an_edited_prediction_fails_the_verification(strings, words):
    for folder, name in ((strings / "results" / ROW, "test.beam.txt"), (None, "test.txt")):
        path = (folder or words / "results" / "vit.seed0") / name
        before = path.read_text()
        path.write_text("ae ai\n" + before.partition("\n")[2])
        try:
            assert not all(holds for *_, holds in verify(path.parents[1], find))
        finally:
            path.write_text(before)


def test_edited_weights_fail_the_verification(strings):
    path = strings / "results" / ROW / alignments.FILE
    before = path.read_bytes()
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez_compressed(path, **arrays | {"head": arrays["head"][::-1]})
    try:
        assert not all(holds for *_, holds in verify(path.parents[1], find))
    finally:
        path.write_bytes(before)


def test_words_have_a_table_with_the_speaker_that_is_held_out(words):
    results = words / "results"
    assert all(holds for *_, holds in verify(results, find))
    table = (results / "tables.md").read_text()
    assert "## Speakers held out" in table and "voice 1" in table and "| vit" in table
    assert all(path.stat().st_size > 1000 for path in results.glob("*/attention.png"))
    assert len(list(results.glob("*/attention.png"))) == 2


def test_a_sound_of_ones_own(strings, words, tmp_path):
    path = tmp_path / "tone.wav"
    time = np.arange(44_100) / 44_100
    soundfile.write(path, np.stack([np.sin(2000 * time), 0 * time], axis=1), 44_100)
    kept = load_run(strings / "runs" / ROW, find)
    (response,) = kept.task.respond([kept.network], [kept.params], [str(path)])
    assert set(response.output.split()) <= set(kept.task.tokenizer.shortlist)
    assert bool(response.maps) == bool(response.output)  # it may have heard nothing
    batch = one(kept.task.config, read(str(path)))
    drawn = kept.task.attention_map(kept.network, kept.params, batch, "ae uo")
    assert drawn.weights.shape == (2, len(drawn.columns)) == (2, 53) and drawn.rows == ["ae", "uo"]
    np.testing.assert_allclose(drawn.weights.sum(axis=1), 1, atol=1e-5)
    assert drawn.features.shape == (106, 16) and drawn.seconds == pytest.approx(1.06)
    kept = load_run(words / "runs" / "vit.seed0", find)
    (response,) = kept.task.respond([kept.network], [kept.params], [str(path)])
    assert response.output in kept.task.classes and sum(response.scores.values()) <= 1.0001
    assert response.notes == ["of 1.00 seconds the first 0.55 are read"]
    assert set(response.maps) == {"rollout", "head 1", "head 2"}
    assert response.maps["rollout"].pixels.shape == (20, 60, 1)
    soundfile.write(path, np.zeros(3 * RATE), RATE)
    kept = load_run(strings / "runs" / ROW, find)
    with pytest.raises(ValueError, match=r"lasts 3.00 seconds, and this run's model reads 2.45"):
        next(kept.task.respond([kept.network], [kept.params], [str(path)]))


@pytest.mark.parametrize(("paper", "row"), [(PAPER, "transcribe"), (WORDS, "vit")])
def test_batches_are_a_function_of_the_seed_and_the_step(paper, row):
    given = dict(scale="tiny", speed=1.1, time_mask=9, mel_mask=4, num_microbatches=3)
    if paper is PAPER:
        given |= dict(seconds=3.0)
    task = paper.task(resolve(paper, row, given)).load()
    first, second = (list(take(task, start, 2)) for start in (0, 1))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), first[0]) == jax.tree.map(
        lambda x: (x.shape, x.dtype), dict(task.batch_spec())
    )
    for name in first[0]:
        np.testing.assert_array_equal(first[1][name], second[0][name])
    assert not np.array_equal(first[0]["features"], first[1]["features"])
    assert len(first[0]["frames"]) == 9 and first[0]["frames"][-1] == 0  # an empty row
    part = next(task.train_batches(0, lambda total: slice(3, 6)))
    np.testing.assert_array_equal(part["features"], first[0]["features"][3:6])


def take(task, start, count):
    batches = task.train_batches(start, all_rows)
    return [next(batches) for _ in range(count)]


@pytest.mark.parametrize(
    ("paper", "row", "given", "words"),
    [
        (PAPER, "transcribe", {"data": "audio"}, "--data=audio needs --audio_dir"),
        (PAPER, "transcribe", {"data": "audio", "audio_dir": "/nowhere"}, "no such folder"),
        (PAPER, "transcribe", {"speed": 1.3}, "strings of up to 2.12 seconds would no longer fit"),
        (PAPER, "transcribe", {"max_words": 9}, "takes 10 tokens with its end: give --max_tokens"),
        (WORDS, "vit", {"num_classes": 4}, "--data=tones has 10 classes: give --num_classes=10"),
        (WORDS, "vit", {"held_out_speaker": 30}, "--held_out_speaker=30: the speakers are 1 v"),
        (
            WORDS, "vit-new-speaker", {"data": "audio", "audio_dir": "."},
            "speakers of --data=audio are not known",
        ),
    ],
)  # fmt: skip
def test_configs_that_do_not_fit_are_refused(paper, row, given, words):
    task = paper.task(resolve(paper, row, {"scale": "tiny"} | given))
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        task.check()
        task.load()


def test_own_sounds_with_transcripts_by_bytes(tmp_path):
    for number in range(12):
        soundfile.write(tmp_path / f"{number}.wav", np.full(RATE // 5, 0.01 * number), RATE)
    lines = [f"{number}.wav\tno {number}\n" for number in range(12)]
    (tmp_path / "train.tsv").write_text("".join(lines[:10]))
    (tmp_path / "test.tsv").write_text("".join(lines[10:]))
    given = dict(
        scale="tiny", data="audio", audio_dir=str(tmp_path), tokenizer="bytes", max_tokens=6
    )
    task = PAPER.task(resolve(PAPER, "transcribe", given)).load()
    batch = next(task.eval_batches("dev"))
    assert task.tokenizer.decode(batch["target"][0]).startswith("no ")
    with pytest.raises(ValueError, match=r"the sound .*\.wav lasts 0\.20 seconds: give"):
        PAPER.task(resolve(PAPER, "transcribe", given | {"seconds": 0.25})).load()


def test_own_sounds_of_classes_are_read_whole(tmp_path, caplog):
    for folder in ("train", "val", "test", "more"):
        for number in range(4):
            place = tmp_path / folder / "ab"[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            soundfile.write(place / f"{number}.wav", np.full(RATE // 2, 0.01 * number), RATE)
    given = dict(scale="tiny", data="audio", audio_dir=str(tmp_path), num_classes=2)
    task = WORDS.task(resolve(WORDS, "vit", given)).load()
    assert len(task.corpus.dev) == 4 and "not read, as no split: more" in caplog.text
    with pytest.raises(ValueError, match=r"\.wav lasts 0\.50 seconds: give more than"):
        WORDS.task(resolve(WORDS, "vit", given | {"seconds": 0.5})).load()
    with pytest.raises(ValueError, match=r"--time_shift=2.0 leaves nothing of --seconds=0.6"):
        WORDS.task(resolve(WORDS, "vit", given | {"time_shift": 2.0})).check()


def test_silence_has_the_features_of_silence():
    config = resolve(PAPER, "transcribe", {"scale": "tiny"}).task
    heard = hear(config.sound, config.augment, Utterance(np.zeros(9_999, np.float32), "", None))
    np.testing.assert_array_equal(heard.features, np.float32(-1.5))


def test_silence_after_a_sound_needs_no_computation():
    config = resolve(PAPER, "transcribe", {"scale": "tiny"}).task
    sound = np.random.default_rng(0).normal(size=9_999).astype(np.float32)
    heard = hear(config.sound, config.augment, Utterance(sound, "", np.array([[0.1, 0.2]])))
    whole = np.zeros(round(2.5 * RATE), np.float32)
    whole[800 : 800 + len(sound)] = sound
    np.testing.assert_allclose(heard.features, log_mel(whole, 16), atol=1e-6)
    assert heard.features.shape == (250, 16) and heard.frames == 69
    np.testing.assert_allclose(heard.times, [[0.15, 0.25]])


def test_rows_of_words_are_the_means_of_their_tokens():
    weights = np.arange(24.0).reshape(2, 4, 3)
    found = word_rows(weights, [1, 2])
    np.testing.assert_array_equal(found[:, 0], weights[:, 0])
    np.testing.assert_array_equal(found[:, 1], weights[:, 1:3].mean(axis=1))


# Layers, width and heads of table 1; the sines of the encoder count too, as in the published files.
@pytest.mark.parametrize(
    ("layers", "width", "heads", "parameters"),
    [(4, 384, 6, 37_760_256), (6, 512, 8, 72_593_408), (12, 768, 12, 241_734_144)],
)
def test_parameter_counts_of_the_published_sizes(layers, width, heads, parameters):
    given = dict(num_layers=layers, decoder_layers=layers, model_dim=width, mlp_dim=4 * width)
    config = resolve(PAPER, "transcribe", given | {"num_heads": heads, "scale": "paper"})
    words = dataclasses.make_dataclass("Words", ["vocab_size"])(51_864)  # of the English models
    network = PAPER.network(config, words)
    inputs = jnp.zeros((1, 4, 80)), jnp.ones((1, 4), bool), jnp.zeros((1, 2), jnp.int32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    found = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    attention, mlp, norm = 4 * width**2 + 3 * width, 8 * width**2 + 5 * width, 2 * width
    encoder = layers * (attention + mlp + 2 * norm) + norm
    encoder += 3 * 80 * width + 3 * width**2 + 2 * width + 1500 * width
    decoder = layers * (2 * attention + mlp + 3 * norm) + norm + (51_864 + 448) * width
    assert found == encoder + decoder == parameters
