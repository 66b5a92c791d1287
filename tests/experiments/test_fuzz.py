"""Mutated files given to every reader, and a fuzzer that finds what there is to find."""

import json
import random

import pytest

from attn_research.training.checkpoints import CheckpointError, Checkpoints
from experiments.robustness import fuzz, samples, weight_files
from experiments.robustness.damaged_checkpoints import CONFIG, STEPS, make_state
from experiments.robustness.mutations import MUTATIONS, mutate
from experiments.robustness.readers import READERS
from experiments.robustness.worker import make_case, run
from tests.experiments.failing_reader import FAILURES, READER


@pytest.mark.parametrize("reader", READERS)
def test_mutated_files_are_read_or_refused_in_one_line_that_names_them(reader, capsys):
    assert fuzz.main([f"--reader={reader}", "--files=20", "--seed=7"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("seed 7, files 0 to 19 of each reader\n")
    assert f"\n{reader} " in text and " 20 files" in text and " 0 failed" in text


def test_every_kind_of_failure_is_found_and_kept(tmp_path):
    found = list(run(READER, 0, range(45), 2.0, tmp_path))
    assert [outcome.number for outcome in found] == list(range(45))
    failures = {outcome.number: outcome.failure for outcome in found if outcome.failure}
    for expected in FAILURES:
        assert any(failure.startswith(expected) for failure in failures.values()), expected
    assert {path.name for path in tmp_path.iterdir()} == set(map(str, failures))
    kinds = {outcome.kind for outcome in found if not outcome.failure}
    assert kinds == {"", "FileNotFoundError"}  # read, and refused as it may be
    number = next(iter(failures))
    kept = (tmp_path / str(number) / "a").read_bytes()
    assert make_case(READER.samples(), 0, number).folder == {"a": kept}


def test_a_failure_is_printed_with_the_command_that_makes_it_again(monkeypatch, capsys):
    monkeypatch.setitem(READERS, "failing", READER)
    assert fuzz.main(["--reader=failing", "--files=4", "--seconds=2"]) == 1
    text = capsys.readouterr().out
    number = text.split("FAILED failing ")[1].split(":")[0]
    command = f"python -m experiments.robustness.fuzz --reader=failing --seed=0 --first={number}"
    assert f"{command} --files=1\n" in text


def test_a_reader_that_does_not_read_its_own_files_is_named():
    broken = READER._replace(samples=samples.trees)
    with pytest.raises(RuntimeError, match=r"does not read its own files(.|\n)*FileNotFoundError"):
        list(run(broken, 0, range(1), 2.0))


@pytest.mark.parametrize("arguments", [["--reader=nothing"], ["--files=0"], ["--first=-1"]])
def test_bad_arguments_are_named(arguments, capsys):
    with pytest.raises(SystemExit):
        fuzz.main(arguments)
    assert arguments[0].partition("=")[0] in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "mutation", dict.fromkeys(MUTATIONS), ids=lambda mutation: mutation.__name__
)
def test_a_mutation_is_a_function_of_its_seed(mutation):
    others = [b"another file", b"(1 2 3)"]
    for content in (b"", b"a", b"a file of 12 words", bytes(range(256)) * 4):
        for seed in range(20):
            first, again = (mutation(content, random.Random(seed), others) for _ in range(2))
            assert first == again and first.about


def test_mutations_reach_the_inside_of_packed_files():
    found = set()
    for sample in (*samples.trees(), *samples.texts(), *samples.images()[:1]):
        for content in sample.values():
            for seed in range(40):
                found.add(mutate(content, random.Random(seed), ()).about.split(":")[0])
    assert "inside gzip" in found
    assert any(about.startswith("inside treebank/combined/wsj_") for about in found)
    assert any(about.endswith("checksums made right") for about in found)


SAMPLES = (
    samples.images, samples.texts, samples.trees, samples.archives, weight_files.published,
)  # fmt: skip


@pytest.mark.parametrize("make", SAMPLES)
def test_samples_are_the_same_whenever_they_are_made(make):
    assert make() == make()


def test_a_checkpoint_whose_words_were_changed_is_damaged(tmp_path):
    """Not the arrays alone have a digest: what is kept beside them has one too."""
    checkpoints = Checkpoints(tmp_path, CONFIG)
    for step in STEPS:
        checkpoints.save(step, make_state(step), seconds=0.5 * step)
    path = tmp_path / str(STEPS[1]) / "about" / "metadata"
    about = json.loads(path.read_text())
    for change in ({"seconds": 9.0}, {"config": {}}, {"digest": 7}, {"config": 3}, {"new": 1}):
        path.write_text(json.dumps(about | change))
        step, _, found = Checkpoints(tmp_path, CONFIG, read_only=True).restore(make_state(0))
        assert step == STEPS[0] and found["seconds"] == 0.5 * STEPS[0]
    # Those of earlier versions have a digest of the arrays alone.
    path.write_text(json.dumps(about | {"digest": about["digest"].partition(".")[0]}))
    assert Checkpoints(tmp_path, CONFIG).restore(make_state(0))[0] == STEPS[1]
    for step in STEPS:
        (tmp_path / str(step) / "about" / "metadata").write_text("[]")
    with pytest.raises(CheckpointError, match=r"every checkpoint in .* is damaged"):
        Checkpoints(tmp_path, CONFIG).restore(make_state(0))


def test_checkpoints_whose_times_are_damaged_are_named_with_the_way_out(tmp_path):
    checkpoints = Checkpoints(tmp_path, CONFIG)
    checkpoints.save(2, make_state(2), seconds=1.0)
    path = tmp_path / "2" / "_CHECKPOINT_METADATA"
    for content in ('{"init_timestamp_nsecs": "x"', '{"commit_timestamp_nsecs": 1' + "0" * 5000):
        path.write_text(content + "}")
        for read_only in (True, False):
            with pytest.raises(CheckpointError, match=r"cannot be listed .*_CHECKPOINT_METADATA"):
                Checkpoints(tmp_path, CONFIG, read_only=read_only)
    path.unlink()
    assert Checkpoints(tmp_path, CONFIG).restore(make_state(0))[0] == 2
