"""Minimal pairs judged by models in training: probabilities of whole sentences, kept and scored."""

import dataclasses
import functools
import lzma

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.data.text.minimal_pairs import MinimalPair
from attn_research.data.text.tokenizers import BOS
from experiments.bert2018.paper import PAPER
from experiments.bert2018.tables import notes
from experiments.harness.paper import resolve
from experiments.harness.program import make_program
from experiments.tasks.language_modeling.blanks import Reader
from experiments.tasks.language_modeling.pairs import score_pairs, write_pairs

TINY = dict(scale="tiny")


@functools.cache
def untrained(row):
    """The program of a row with its data, and parameters."""
    config = resolve(PAPER, row, TINY)
    program = make_program(PAPER, config, PAPER.task(config).load())
    return program, jax.jit(program.init)(jax.random.key(0))


@pytest.mark.parametrize("row", ["masked", "causal"])
def test_a_sentence_is_judged_by_the_probability_of_every_token(row, tmp_path):
    program, params = untrained(row)
    network = program.network
    mask = program.task.mask if row == "masked" else None

    @jax.jit
    def log_probs(seen, count, at):
        """Those of all ids at a place, of the first ids of a row of 8."""
        states = network.apply(params, seen[None], jnp.arange(8)[None] < count).states[0, at]
        return jax.nn.log_softmax(network.apply(params, states, method="word_logits"))

    def log_prob(text):
        ids, total = np.array([BOS, *map(int, text.split())], np.int32), 0.0
        for place in range(1, len(ids)):
            seen = np.pad(ids, (0, 8 - len(ids)))
            if mask is not None:
                seen[place] = mask
            given = (len(ids), place) if mask is not None else (place, place - 1)
            total += float(log_probs(seen, *given)[ids[place]])
        return total

    texts = ["7 9 6", "7 9 5 8", "6 6", "8 5 7 7 9"]
    pairs = [MinimalPair("p", "x", *texts[:2]), MinimalPair("q", "y", *texts[2:])] * 9
    reader = Reader([network], [params], mask, 24)  # of fewer texts at a time than these have
    write_pairs(tmp_path / "blimp.tsv", pairs, reader, lambda text: [*map(int, text.split())])
    rows = [line.split("\t") for line in (tmp_path / "blimp.tsv").read_text().splitlines()[1:]]
    expected = np.resize([log_prob(text) for text in texts], (18, 2))
    np.testing.assert_allclose(np.array(rows)[:, 2:].astype(float), expected, atol=1e-3)
    right = (expected[:2, 0] > expected[:2, 1]).tolist()
    scores, _ = score_pairs(tmp_path / "blimp.tsv")
    assert scores["by_field"] == {"x": right[0], "y": right[1]} and scores["pairs"] == 18
    with pytest.raises(ValueError, match="a text of 5 tokens: at most 4 are read"):
        Reader([network], [params], mask, 4).of_right([np.ones(5, np.int32)], [1])


def test_pairs_are_among_the_results(tmp_path):
    folder = tmp_path / "data"
    (folder / "blimp").mkdir(parents=True)
    header = "uid\tfield\tterm\tsimple_lm\tgood\tbad\n"
    content = header + "".join(f"u\tsyntax\tt\t1\tthe {n} is\tthe {n} are\n" for n in range(3))
    (folder / "blimp" / "blimp.tsv.xz").write_bytes(lzma.compress(content.encode()))
    config = resolve(PAPER, "masked", TINY).replace(data="ptb", data_dir=str(folder), pairs=2)
    with pytest.raises(FileNotFoundError, match=r"blimp/blimp\.tsv\.xz"):
        PAPER.task(config.replace(data_dir=str(tmp_path))).check()
    program, params = untrained("masked")
    task = dataclasses.replace(program.task, config=config)
    task.check()
    task.predict([program.network], [params], tmp_path)
    found = task.score(tmp_path)
    assert found["blimp"]["pairs"] == 2 and "blimp.tsv" in found["predictions"]
    runs = {"masked": [{"scores": found}], "causal": [{"scores": {"tests": found["tests"]}}]}
    assert any("BLiMP is the share" in note for note in notes(runs))
