"""LoRA's experiment at tiny scale: what is trained, what it needs, and what a run keeps."""

import json

import jax
import numpy as np
import pytest

from attn_research.pretrained.peft import read_adapter
from attn_research.trees import named_leaves
from experiments.adapter import export
from experiments.harness import memory_budget
from experiments.harness.describe import describe, readable
from experiments.harness.paper import resolve, trace
from experiments.harness.program import make_program
from experiments.harness.run_folder import load_run
from experiments.harness.verify import verify
from experiments.lora2021.paper import PAPER, make_lora, merge_start
from experiments.lora2021.tables import ordering
from experiments.papers import find
from tests.experiments.runs import run

TINY = dict(scale="tiny", num_steps=4, eval_every=2, save_every=4)
MINILM = dict(num_layers=6, model_dim=384, mlp_dim=1536, num_heads=12, max_length=512)
MINILM |= dict(vocab_size=30_522, cpu_devices=1)


def about(row, **given):
    return describe(PAPER, row, trace(PAPER, row, given))


def test_a_description_counts_what_is_trained_and_frozen_by_path():
    found = about("lora", **MINILM)
    low = {path: size for path, size in found["trained"].items() if path.startswith("lora/")}
    assert sum(low.values()) == 73_728 and len(low) == 4
    assert low["lora/blocks/attention/query/kernel/a"] == 6 * 384 * 8
    heads = {path.split("/")[1] for path in found["trained"].keys() - low.keys()}
    assert heads == {"pooler", "classifier"}
    assert sum(found["frozen"].values()) + sum(found["trained"].values()) == found["parameters"]
    text = readable(found)
    assert f"{sum(found['trained'].values()):,} trained:" in text
    assert "73,728" not in text and "params/words/embedding" in text
    last = about("last", **MINILM)["trained"]
    assert {path.split("/")[1] for path in last} == {"pooler", "classifier"}
    assert "trained" not in about("full", **MINILM)


def test_training_starts_from_what_a_run_with_updates_learned(tmp_path):
    """Its scale and its matrices are its own, whatever those of the new run are."""
    config = resolve(PAPER, "lora", TINY | {"rank": 1}).replace(init_from=str(tmp_path))
    rng, values = np.random.default_rng(0), {"rank": 2, "alpha": 6.0, "where": "output$"}
    (tmp_path / "run.json").write_text(json.dumps({"config": values}))
    shapes = {"params": {"output": {"kernel": (4, 3)}, "query": {"kernel": (4, 3)}}}
    plain = jax.tree.map(lambda shape: rng.normal(size=shape), shapes, is_leaf=is_shape)
    a, b = rng.normal(size=(4, 2)), rng.normal(size=(2, 3))
    found = merge_start(config, plain | {"lora": {"output": {"kernel": {"a": a, "b": b}}}})
    wanted = plain["params"]["output"]["kernel"] + 3 * a @ b
    np.testing.assert_allclose(found["params"]["output"]["kernel"], wanted, rtol=1e-5)
    np.testing.assert_array_equal(
        found["params"]["query"]["kernel"], plain["params"]["query"]["kernel"]
    )
    assert found.keys() == {"params"} and merge_start(config, plain) is plain
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="does not describe a run"):
        merge_start(config, plain | {"lora": {}})


def is_shape(part):
    return isinstance(part, tuple)


def test_matrices_are_named_by_a_regular_expression():
    with pytest.raises(ValueError, match=r"where='attention/\(query' is no regular expression"):
        make_lora(resolve(PAPER, "lora", TINY | {"where": "attention/(query"}).model)


def test_minilm_needs_at_most_half_of_the_memory_of_full_fine_tuning():
    """Of 1,024 tokens a step the activations are the larger part, of which --remat keeps fewer."""
    given = MINILM | dict(scale="small", data="grammar", tokenizer="words", remat="dots")
    full, lora = (
        memory_budget.needs(make_program(PAPER, resolve(PAPER, row, given)))
        for row in ("full", "lora")
    )
    assert lora.state_bytes < 0.35 * full.state_bytes
    assert lora.bytes < full.bytes / 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora2021") / "grammar-tiny"
    run(PAPER, "lora", folder, **TINY, rank=2)
    PAPER.report(folder / "results", PAPER)
    return folder


def test_a_run_writes_a_verifiable_table_of_what_it_trained(folder):
    assert all(holds for *_, holds in verify(folder / "results", find))
    result = json.loads(next((folder / "results").glob("lora*.json")).read_text())
    low = 2 * 2 * (16 * 2 + 2 * 16)  # layers, matrices, A and B
    heads = 16 * 16 + 16 + 16 * 2 + 2
    assert result["trained_parameters"] == low + heads
    assert f" {low + heads:,} |" in (folder / "results" / "tables.md").read_text()


def test_the_table_says_which_updates_are_within_a_point_of_full_fine_tuning():
    def runs(accuracy):
        scores = {"tests": {"test": {"accuracy": accuracy}}}
        config = {"best_by": "+accuracy"}
        return [{"scores": scores, "dev_accuracy": accuracy, "config": config}]

    results = {"full": runs(0.9), "last": runs(0.8), "lora": runs(0.88), "lora-all": runs(0.895)}
    (note,) = ordering(results)
    assert "lora -2.00, lora-all -0.50." in note
    assert note.endswith("as the paper has it: lora-all.")
    assert ordering({"lora": runs(0.9)}) == []


def test_what_is_frozen_stays_as_it_was_and_the_run_can_be_merged(folder):
    kept = load_run(folder / "runs" / "lora, rank=2.seed0".replace(", ", ","), find)
    program = make_program(kept.paper, kept.config, kept.task)
    before, after = (
        named_leaves(jax.jit(program.init)(jax.random.key(0))),
        named_leaves(kept.params),
    )
    changed = {path for path, leaf in after.items() if not np.array_equal(leaf, before[path])}
    assert all(map(program.trainable, changed))
    # A stays as it is until B has moved.
    assert changed >= {"lora/blocks/attention/query/kernel/b", "params/classifier/kernel"}
    merged = make_lora(kept.config.model).merge(kept.params)
    line = "the dogs of my old friend"
    answers = [
        next(kept.task.respond([kept.network], [params], [line]))
        for params in (kept.params, merged)
    ]
    for name, score in answers[0].scores.items():
        assert answers[1].scores[name] == pytest.approx(score, abs=1e-6)


def test_the_adapter_of_a_run_is_read_back(folder, tmp_path):
    place = folder / "runs" / "lora,rank=2.seed0"
    export(place, tmp_path / "adapter")
    kept = load_run(place, find)
    bert = kept.network.network.bert
    adapter = read_adapter(tmp_path / "adapter", bert, kept.params)
    again = {"params": kept.params["params"] | adapter.saved, "lora": adapter.low}
    line = "the dogs of my old friend"
    answers = [
        next(kept.task.respond([kept.network], [params], [line])).scores
        for params in (kept.params, again)
    ]
    assert answers[0] == answers[1]
    with pytest.raises(ValueError, match="adapter is not empty: name a new folder"):
        export(place, tmp_path / "adapter")


def test_a_run_that_pools_means_is_no_adapter_of_peft(tmp_path):
    run(PAPER, "lora", tmp_path, **TINY, pooling="mean")
    place = next((tmp_path / "runs").iterdir())
    with pytest.raises(ValueError, match="this run has --pooling=mean"):
        export(place, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize(
    ("row", "given", "message"),
    [
        ("full", {"rank": 4}, "--rank=4 has no effect with --method=full"),
        ("lora", {"where": "qeury"}, "no matrix is adapted by 'qeury'"),
        ("lora-q", {"rank": 3}, "row lora-q sets rank=16 itself"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, row, given, message):
    with pytest.raises(ValueError, match=message):
        run(PAPER, row, tmp_path, **TINY, **given)


def test_few_sentences_are_drawn_by_the_seed(tmp_path):
    few = find("lora2021.few")
    folder = tmp_path / "grammar-tiny"
    run(few, "lora-100", folder, **TINY)
    few.report(folder / "results", few)
    assert (folder / "results" / "few.png").stat().st_size > 1000
    result = json.loads(next((folder / "results").glob("lora-100*.json")).read_text())
    assert result["config"]["num_labelled"] == 5  # a twentieth, as of every row at scale tiny
    drawn = [
        few.task(resolve(few, "lora-500", dict(TINY, seed=seed))).load().data.train
        for seed in (0, 0, 1)
    ]
    texts = [[tuple(each.ids) for each in examples] for examples in drawn]
    assert texts[0] == texts[1] != texts[2]
    assert [len(each) for each in texts] == [25, 25, 25]


def test_more_sentences_than_there_are_is_refused():
    few = find("lora2021.few")
    config = resolve(few, "lora-500", dict(TINY, num_labelled=201))
    with pytest.raises(ValueError, match="--num_labelled=201: there are 200 training examples"):
        few.task(config).load()
