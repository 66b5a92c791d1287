"""The task of copying, and the papers that are on it, at tiny scale."""

import json

import numpy as np
import pytest

from experiments.harness.paper import resolve
from experiments.harness.run_folder import load_run
from experiments.harness.verify import verify
from experiments.longformer2020.reach.paper import PAPER as REACH
from experiments.longformer2020.reach.tables import reach_of
from experiments.papers import find
from experiments.reformer2020.paper import PAPER as REFORMER
from experiments.tasks.copying import data
from experiments.tasks.copying.config import KINDS, CopyingConfig
from experiments.tasks.copying.task import CopyingTask
from tests.experiments.runs import run

TINY = {"scale": "tiny"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_target_stands_before(kind):
    config = CopyingConfig(data=kind, symbols=9, length=20, distance=5)
    ids, targets = data.draw(config, (0, 1, 2), 50)
    assert ids.shape == targets.shape == (50, 20)
    assert ids.min() >= 0 and ids.max() < data.vocab_size(config)
    for row, gold in zip(ids.tolist(), targets.tolist(), strict=True):
        places = [place for place, target in enumerate(gold) if target != data.NOTHING]
        if kind == "duplication":
            assert row[:10] == row[10:] and row[0] == 0 and places == list(range(10, 19))
            assert all(gold[place] == row[place + 1] for place in places)
        elif kind == "distance":
            assert places == list(range(5, 20))
            assert all(gold[place] == row[place - 5] for place in places)
        else:
            (needle,) = [i for i in row if i > 9]
            assert places == [19] and row[19] == 0 and gold[19] == needle - 9
    again = data.draw(config, (0, 1, 2), 50)
    np.testing.assert_array_equal(again.ids, ids)
    if kind == "needle":
        behind = data.needle_distances(again, config)
        assert all(row[19 - n] > 9 for row, n in zip(ids, behind, strict=True))
        assert min(behind) >= 1 and max(behind) <= 19 and len(set(behind.tolist())) > 10


@pytest.fixture(scope="module")
def hashed(tmp_path_factory):
    path = run(REFORMER, "LSH-2", tmp_path_factory.mktemp("reformer"), **TINY)
    REFORMER.report(path.parent, REFORMER)
    return path.parents[1]


def test_duplication_is_read_with_every_number_of_hashes(hashed):
    results = hashed / "results"
    assert all(holds for *_, holds in verify(results, find))
    scores = json.loads((results / "LSH-2.seed0.json").read_text())["scores"]["tests"]
    assert set(scores) == {"full", "LSH-8", "LSH-4", "LSH-2", "LSH-1"}
    table = (results / "tables.md").read_text()
    assert "(paper 98.1)" in table and "(paper 86.8)" in table
    path = results / "LSH-2.seed0" / "LSH-4.txt"
    text = path.read_text()
    path.write_text("9" + text[1:])
    assert not all(holds for *_, holds in verify(results, find))
    path.write_text(text)


def test_symbols_of_ones_own(hashed):
    kept = load_run(hashed / "runs" / "LSH-2.seed0", find)

    def respond(line):
        return next(iter(kept.task.respond([kept.network], [kept.params], [line])))

    found = respond("1 2 3")
    assert len(found.output.split()) == 7 and found.notes[0].startswith("repeated up to the 7")
    assert found.maps["layer 1, head 2"].weights.shape == (16, 16)
    for line, message in (
        ("", "give symbols, numbers from 1 to 5"),
        ("a b", "give symbols"),
        ("1 6", "numbers from 1 to 5, and not 2 from 1 to 6"),
        ("1 " * 8, "give at most 7 symbols"),
    ):
        with pytest.raises(ValueError, match=message):
            respond(line)


def test_the_reach_of_windows(tmp_path):
    run(REACH, "2-layers-dilated", tmp_path, **TINY)
    results = tmp_path / "results"
    REACH.report(results, REACH)
    assert all(holds for *_, holds in verify(results, find))
    assert (results / "reach.png").stat().st_size > 1000
    result = json.loads((results / "2-layers-dilated.seed0.json").read_text())
    assert reach_of(result["config"]) == 8  # 2 keys, and then 2 that are 3 apart
    by_distance = result["scores"]["tests"]["test"]["by_distance"]
    assert sum(count for *_, count in by_distance) == 16


def test_copies_from_one_distance(tmp_path):
    run(REACH, "1-layer", tmp_path, **TINY, data="distance", distance=6)
    results = tmp_path / "results"
    REACH.report(results, REACH)
    assert all(holds for *_, holds in verify(results, find))
    table = (results / "tables.md").read_text()
    assert "predicted again 6 tokens later" in table and "copied" in table


def test_a_distance_is_within_the_sequence():
    config = resolve(REFORMER, "LSH-2", TINY | {"data": "distance", "distance": 16})
    with pytest.raises(ValueError, match="--distance=16 is not within --length=16"):
        CopyingTask(config).check()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(length=17), "--length=17: two halves"),
        (dict(data="needle"), "--data=needle: this table is of --data=duplication"),
    ],
)
def test_sequences_that_cannot_be_are_refused(given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(REFORMER, "LSH-2", tmp_path, **TINY | given)
