"""Memory estimates, and refusal of steps that do not fit."""

import numpy as np
import pytest

from attn_research.data.text.encoding import Encoded
from experiments.bahdanau2014.paper import PAPER as BAHDANAU
from experiments.harness import memory_budget as budget
from experiments.harness.paper import resolve
from experiments.harness.program import make_program
from experiments.tasks.translation.batches import make_batches
from experiments.vit2020.paper import PAPER


def check(config):
    budget.check(make_program(PAPER, config))


@pytest.fixture(scope="module")
def config():
    given = {"scale": "tiny", "batch_size": 256, "num_layers": 1, "model_dim": 32, "mlp_dim": 256}
    return resolve(PAPER, "small", given)


@pytest.fixture(scope="module")
def needed(config):
    return budget.needs(make_program(PAPER, config))


@pytest.mark.parametrize(
    ("text", "count"), [("800", 800), ("1.5KiB", 1536), ("2 MB", 2_000_000), ("1gib", 2**30)]
)
def test_byte_sizes_are_parsed(text, count):
    assert budget.parse_bytes(text) == count


def test_invalid_byte_sizes_are_refused():
    with pytest.raises(ValueError, match="--max_bytes=many: a number of bytes"):
        budget.parse_bytes("many")


def test_more_devices_need_less_memory_each_and_communicate(config, needed):
    shared = config.replace(placement="sharded", mesh="data=2,fsdp=4")
    found = budget.needs(make_program(PAPER, shared))
    assert found.bytes < needed.bytes / 3
    assert {"all-reduce", "all-gather", "reduce-scatter"} <= set(found.traffic)
    assert needed.traffic == {}
    mapped = config.replace(placement="pmap", mesh="data=4")
    assert set(budget.needs(make_program(PAPER, mapped)).traffic) == {"all-reduce"}


def test_a_step_that_fits_is_accepted_and_so_is_a_suggestion(config, needed):
    check(config.replace(max_bytes=str(needed.bytes)))
    tight = config.replace(max_bytes=str(needed.bytes // 3))
    with pytest.raises(ValueError, match=r"a step needs .* of a device; --") as caught:
        check(tight)
    words = str(caught.value).partition("; ")[2].partition(" needs")[0].split()
    changes = dict(word[2:].split("=") for word in words)
    changes = {name: int(x) if x.isdecimal() else x for name, x in changes.items()}
    check(tight.replace(**changes))


def test_microbatches_that_do_not_divide_a_batch_are_not_suggested(config, monkeypatch):
    tried = []

    def needs(program):
        config = program.config.values()
        tried.append(config["num_microbatches"])
        if config["batch_size"] % config["num_microbatches"]:
            raise ValueError("a batch cannot be shared evenly")
        return budget.Needs(10**6, 10**9 // config["num_microbatches"], {})

    monkeypatch.setattr(budget, "needs", needs)
    uneven = config.replace(batch_size=100, max_bytes="260MB")
    with pytest.raises(ValueError, match=r"; --num_microbatches=4 needs "):
        check(uneven)
    tight = uneven.replace(max_bytes="100MB")
    with pytest.raises(
        ValueError, match=r"and at least 239 MiB with --remat and --num_microbatches"
    ):
        check(tight)
    assert 8 in tried


def test_the_error_gives_the_least_memory_if_nothing_fits(config, monkeypatch):
    def needs(program):
        part = program.config.execution
        halves = 1 + (part.remat == "all")
        return budget.Needs(10**6, 10**9 // part.num_microbatches // halves, {})

    monkeypatch.setattr(budget, "needs", needs)
    with pytest.raises(ValueError, match=r"needs 955 MiB .*, and at least 60.6 MiB with --remat"):
        check(config.replace(max_bytes="1KiB"))


def test_too_many_shapes_are_refused_with_a_bucket_width_that_makes_fewer():
    given = {"scale": "tiny", "batching": "tokens", "bucket_width": 5, "max_compiles": 4}
    config = resolve(BAHDANAU, "RNNsearch-50", given)
    lengths = np.random.default_rng(0).integers(1, 50, (500, 2)).astype(np.uint16)
    pairs = Encoded(np.full(lengths.sum(), 5, np.int32), lengths)
    with pytest.raises(ValueError, match=r"--max_compiles=4: batches have 10 shapes") as caught:
        make_batches(config, pairs)
    step = int(str(caught.value).partition("--bucket_width=")[2].split()[0])
    wider = config.replace(bucket_width=step)
    assert len(make_batches(wider, pairs).shapes()) <= 4
