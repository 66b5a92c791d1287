"""What a step needs is known before it runs, and what does not fit is refused with what would."""

import dataclasses

import numpy as np
import pytest

from attn_research.data.encoding import Encoded
from experiments import bahdanau2014, budget, pair_batches, vit2020
from experiments.paper import resolve


@pytest.fixture(scope="module")
def config():
    given = {"scale": "tiny", "batch_size": 256, "model_dim": 32, "mlp_dim": 256}
    return resolve(vit2020.PAPER, "small", given)


@pytest.fixture(scope="module")
def needed(config):
    return budget.needs(vit2020.PAPER, config)


@pytest.mark.parametrize(
    ("text", "count"), [("800", 800), ("1.5KiB", 1536), ("2 MB", 2_000_000), ("1gib", 2**30)]
)
def test_bytes_are_read(text, count):
    assert budget.parse_bytes(text) == count


def test_bytes_that_are_none_are_named():
    with pytest.raises(ValueError, match="--max_bytes=many: a number of bytes"):
        budget.parse_bytes("many")


def test_more_devices_need_less_each_and_send(config, needed):
    shared = dataclasses.replace(config, placement="sharded", mesh="data=2,fsdp=4")
    found = budget.needs(vit2020.PAPER, shared)
    assert found.bytes < needed.bytes / 3
    assert {"all-reduce", "all-gather", "reduce-scatter"} <= set(found.traffic)
    assert needed.traffic == {}
    mapped = dataclasses.replace(config, placement="pmap", mesh="data=4")
    assert set(budget.needs(vit2020.PAPER, mapped).traffic) == {"all-reduce"}


def test_what_fits_is_not_refused_and_a_suggestion_fits(config, needed):
    budget.check(vit2020.PAPER, dataclasses.replace(config, max_bytes=str(needed.bytes)))
    tight = dataclasses.replace(config, max_bytes=str(needed.bytes // 3))
    with pytest.raises(ValueError, match=r"a step needs .* of a device; --") as caught:
        budget.check(vit2020.PAPER, tight)
    words = str(caught.value).partition("; ")[2].partition(" needs")[0].split()
    changes = dict(word[2:].split("=") for word in words)
    changes = {name: int(x) if x.isdecimal() else x for name, x in changes.items()}
    budget.check(vit2020.PAPER, dataclasses.replace(tight, **changes))


def test_parts_that_do_not_divide_a_batch_are_not_suggested(config, monkeypatch):
    tried = []

    def needs(paper, config):
        tried.append(config.parts)
        if config.batch_size % config.parts:
            raise ValueError("a batch cannot be shared evenly")
        return budget.Needs(10**6, 10**9 // config.parts, {})

    monkeypatch.setattr(budget, "needs", needs)
    uneven = dataclasses.replace(config, batch_size=100, max_bytes="260MB")
    with pytest.raises(ValueError, match=r"; --parts=4 needs "):
        budget.check(vit2020.PAPER, uneven)
    tight = dataclasses.replace(uneven, max_bytes="100MB")
    with pytest.raises(ValueError, match=r"and at least 239 MiB with --remat and --parts"):
        budget.check(vit2020.PAPER, tight)
    assert 8 in tried


def test_where_nothing_fits_the_least_is_said(config, monkeypatch):
    def needs(paper, config):
        return budget.Needs(10**6, 10**9 // config.parts // (1 + (config.remat == "all")), {})

    monkeypatch.setattr(budget, "needs", needs)
    with pytest.raises(ValueError, match=r"needs 955 MiB .*, and at least 60.6 MiB with --remat"):
        budget.check(vit2020.PAPER, dataclasses.replace(config, max_bytes="1KiB"))


def test_too_many_shapes_are_refused_with_bounds_that_make_fewer():
    given = {"scale": "tiny", "batching": "tokens", "bound_step": 5, "max_compiles": 4}
    config = resolve(bahdanau2014.PAPER, "RNNsearch-50", given)
    lengths = np.random.default_rng(0).integers(1, 50, (500, 2)).astype(np.uint16)
    pairs = Encoded(np.full(lengths.sum(), 5, np.int32), lengths)
    with pytest.raises(ValueError, match=r"--max_compiles=4: batches have 10 shapes") as caught:
        pair_batches.make_batches(config, pairs)
    step = int(str(caught.value).partition("--bound_step=")[2].split()[0])
    wider = dataclasses.replace(config, bound_step=step)
    assert len(pair_batches.make_batches(wider, pairs).shapes()) <= 4
