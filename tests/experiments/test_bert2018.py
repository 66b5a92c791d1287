"""BERT: pre-training on masked words, fine-tuning from a run or a published folder, packed rows."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.data.text.examples import CollateExamples, Frame, Item, encode_examples
from attn_research.data.text.labelled import Example
from attn_research.pretrained import to_checkpoint
from attn_research.pretrained.formats.safetensors import write_safetensors
from experiments.bert2018.finetuning.paper import PAPER as FINETUNING
from experiments.bert2018.paper import PAPER
from experiments.bert2018.tables import notes
from experiments.harness.paper import resolve
from experiments.harness.program import make_program
from experiments.harness.run_folder import load_run
from experiments.harness.runner import run_row
from experiments.harness.starting import starting_params
from experiments.harness.verify import verify
from experiments.papers import find
from experiments.tasks.language_modeling.blanks import Reader, draw_blanks
from tests.experiments.runs import run

TINY = dict(scale="tiny", num_steps=4, eval_every=2, save_every=4)
SIZES = dict(num_layers=2, model_dim=16, mlp_dim=32, num_heads=2, max_length=48)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """The folder of a run of pre-training."""
    folder = tmp_path_factory.mktemp("bert2018") / "grammar-tiny"
    run(PAPER, "masked", folder, **TINY)
    PAPER.report(folder / "results", PAPER)
    return folder


def test_pretraining_writes_a_verifiable_table(pretrained):
    results = pretrained / "results"
    assert all(holds for *_, holds in verify(results, find))
    found = json.loads((results / "masked.seed0.json").read_text())["scores"]["tests"]["test"]
    assert found["blanks"] == 50 and 0 <= found["filled_accuracy"] <= 1
    assert 0 < found["filled_loss"] < 20 and 0 < found["continued_loss"] < 20
    assert "| masked |" in (results / "tables.md").read_text()
    path = results / "masked.seed0" / "test.blanks.tsv"
    before = path.read_text()
    path.write_text(before.replace("\t-", "\t-9"))
    try:
        assert not all(holds for *_, holds in verify(results, find))
    finally:
        path.write_text(before)


@functools.cache
def untrained(row):
    """The program of a row, with its data."""
    config = resolve(PAPER, row, TINY)
    return make_program(PAPER, config, PAPER.task(config).load())


def test_both_rows_have_the_same_parameters():
    shapes = [untrained(row).state_shapes().params for row in ("masked", "causal")]
    assert jax.tree.structure(shapes[0]) == jax.tree.structure(shapes[1])
    assert jax.tree.leaves(shapes[0]) == jax.tree.leaves(shapes[1])


def test_the_table_says_whether_the_papers_ordering_came_out():
    def runs(filled, continued=0.3, pairs=None):
        scores = {"tests": {"test": dict(filled_accuracy=filled, continued_accuracy=continued)}}
        return [{"scores": scores | ({"blimp": {"accuracy": pairs}} if pairs else {})}]

    for accuracy, words in ((0.5, "came out: +20.0"), (0.2, "did not come out: -10.0")):
        *_, note = notes({"masked": runs(accuracy, 0.25), "causal": runs(0.3)})
        assert words in note and note.endswith("it is -5.0 points from causal attention.")
    judged = {"masked": runs(0.5, 0.3, 0.6), "causal": runs(0.3, 0.3, 0.5)}
    assert "+0.0 points from causal attention, in BLiMP +10.0." in notes(judged)[1]
    assert len(notes({"masked": runs(0.5)})) == 1


def drawn(params, scale=0.3):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.array(scale * rng.normal(size=x.shape), x.dtype), params)


@pytest.mark.parametrize("row", ["masked", "causal"])
def test_a_causal_network_sees_nothing_after_a_blank(row):
    program = untrained(row)
    task, params = program.task, drawn(program.state_shapes().params)
    lines = [np.array([1, 9, 8, 7, 6, 5, 2], np.int32), np.array([1, 5, 6, 7, 2], np.int32)]
    blanks = draw_blanks(lines, range(4, task.mask), 2, 24)
    assert [each.line for each in blanks] == [0, 1]
    assert all(each.ids[each.place] >= 4 and each.place > 1 for each in blanks)
    mask = task.mask if row == "masked" else None
    reader = Reader([program.network], [params], mask, 24)
    sides = [reader.guess(blanks, whole=whole).log_probs for whole in (True, False)]
    same = np.allclose(*sides, atol=1e-5)
    assert same == (row == "causal")


def test_a_blank_of_ones_own_is_filled(pretrained):
    kept = load_run(pretrained / "runs" / "masked.seed0", find)
    (found,) = kept.task.respond([kept.network], [kept.params], ["the [MASK] of my friend"])
    words = found.output.split()
    assert len(words) == 5 and words[0] == "the" and words[2:] == ["of", "my", "friend"]
    assert words[1] == next(iter(found.scores)) and len(found.scores) == 5
    assert list(found.maps["layer 1, head 1"].columns)[:3] == ["<s>", "the", "[MASK]"]
    with pytest.raises(ValueError, match=r"more than one \[MASK\] in"):
        list(kept.task.respond([kept.network], [kept.params], ["[MASK] [MASK]"]))


def program_of(folder, labels, **given):
    """A loaded fine-tuning program of every kind of labels, without dropout."""
    rng, lines = np.random.default_rng(0), {"classes": [], "numbers": [], "tags": []}
    for _ in range(24):
        words = rng.choice(list("abcdefg"), rng.integers(2, 7))
        text = " ".join(words)
        lines["classes"].append(f"{'xyz'[len(words) % 3]}\t{text}\t{text[:3]}")
        lines["numbers"].append(f"{len(words)}\t{text}\t{text[:1]}")
        lines["tags"].append("".join(f"{w} {'B-x' if w in 'ab' else 'O'}\n" for w in words))
    given |= TINY | {"data": "text", "labels": labels, "dropout": 0.0, "attention_dropout": 0.0}
    given |= {"num_texts": 1 if labels == "tags" else 2}
    given |= {"num_classes": {"classes": 3, "tags": 2, "numbers": 2}[labels]}
    for split in ("train", "dev", "test"):
        (folder / split).write_text("\n".join(lines[labels]) + "\n")
        given[split] = str(folder / split)
    config = resolve(FINETUNING, "fine-tuned", given)
    return make_program(FINETUNING, config, FINETUNING.task(config).load())


@pytest.mark.parametrize(
    ("labels", "pooling"),
    [("classes", "class"), ("classes", "mean"), ("numbers", "class"), ("tags", "class")],
)
def test_packed_rows_have_the_loss_and_gradients_of_rows_of_their_own(tmp_path, labels, pooling):
    program = program_of(tmp_path, labels, pooling=pooling)
    packed = next(program.task.train_batches(0, lambda total: slice(0, total)))
    assert {name: (x.shape, x.dtype) for name, x in packed.items()} == {
        name: (x.shape, x.dtype) for name, x in program.task.batch_spec().items()
    }
    most = packed["segments"].max()
    assert most > 1
    alone = []
    for row in range(len(packed["ids"])):
        for number in range(1, packed["segments"][row].max() + 1):
            place = packed["segments"][row] == number
            ids, types = packed["ids"][row, place], packed["types"][row, place]
            second = int((types == 0).sum())
            label = packed["label"][row]
            label = label[place].tolist() if labels == "tags" else label[number - 1]
            alone.append(Item(ids[:-1], second, label))
    batch = CollateExamples(labels)(alone, len(alone), 32)
    assert "segments" not in batch

    @functools.partial(jax.jit, static_argnums=2)
    def mean_loss(params, batch, shape):
        def total(params):
            sums = program.loss(params, batch, jax.random.key(0))
            return sums.total / sums.weight, sums.weight

        return jax.value_and_grad(total, has_aux=True)(params)

    params = drawn(program.state_shapes().params)
    (loss, weight), gradient = mean_loss(params, packed, "packed")
    (expected, count), wanted = mean_loss(params, batch, "alone")
    assert weight == count > len(packed["ids"])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=2e-5), gradient, wanted)


def test_fine_tuning_starts_from_a_run_with_its_tokenizer(pretrained, tmp_path):
    start = pretrained / "runs" / "masked.seed0"
    given = TINY | {"init_from": str(start), "tokenizer": "given"} | dict.fromkeys(SIZES, 0)
    config = resolve(FINETUNING, "fine-tuned", given)
    assert config.model.num_layers == 2 and config.model.max_length == 48
    kept = load_run(start, find)
    assert config.task.text.vocab_size == kept.task.vocab_size
    program = make_program(FINETUNING, config)
    params = starting_params(program, find)["params"]
    assert "masked_lm" not in params and set(params) > {"pooler", "classifier"}
    for part in ("words", "blocks"):
        jax.tree.map(np.testing.assert_array_equal, params[part], kept.params["params"][part])
    path = run_row(
        FINETUNING, "fine-tuned", config, given=given, run_dir=tmp_path / "runs",
        results_dir=tmp_path / "results", progress=False, find=find,
    )  # fmt: skip
    FINETUNING.report(tmp_path / "results", FINETUNING)
    assert all(holds for *_, holds in verify(tmp_path / "results", find))
    again = load_run(tmp_path / "runs" / path.stem, find)
    (found,) = again.task.respond([again.network], [again.params], ["the dogs of my friend"])
    assert found.output in ("singular", "plural")
    assert found.maps["layer 2, head 2"].columns[0] == "<begin>"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder of a published checkpoint of the tiny size, with its vocabulary."""
    folder = tmp_path_factory.mktemp("published")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary += ["the", "of", "my", "dog", "##s", "a"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    config = resolve(FINETUNING, "fine-tuned", TINY | {"vocab_size": len(vocabulary)})
    network = FINETUNING.network(config, FINETUNING.task(config)).bert
    network = network.clone(heads=("pooler",))
    params = jax.jit(network.init)(jax.random.key(1), jnp.zeros((1, 2), jnp.int32))
    checkpoint = to_checkpoint(network, params)
    (folder / "config.json").write_text(json.dumps(checkpoint.config))
    write_safetensors(folder / "model.safetensors", checkpoint.tensors)
    return folder, params


def test_fine_tuning_starts_from_a_published_folder_with_its_tokenizer(published, tmp_path):
    folder, params = published
    given = TINY | {"init_from": str(folder)}
    config = resolve(FINETUNING, "fine-tuned", given)
    values = config.values()
    assert {name: values[name] for name in SIZES} == SIZES and values["vocab_size"] == 11
    assert values["vocabulary"] == str(folder)
    task = FINETUNING.task(config).load()
    program = make_program(FINETUNING, config, task)
    start = starting_params(program, find)["params"]
    jax.tree.map(np.testing.assert_array_equal, start["blocks"], params["params"]["blocks"])
    jax.tree.map(np.testing.assert_array_equal, start["pooler"], params["params"]["pooler"])
    assert start["classifier"]["kernel"].shape == (16, 2)
    batch = next(task.train_batches(0, lambda total: slice(0, total)))
    assert (batch["ids"][:, 0] == 2).all() and 3 in batch["ids"][0]
    assert task.tokenizer.words("the dogs") == ["the", "dog", "##s"]


def test_tags_stand_at_the_first_piece_of_a_word(published):
    given = TINY | {"init_from": str(published[0]), "tokenizer": "given"} | dict.fromkeys(SIZES, 0)
    task = FINETUNING.task(resolve(FINETUNING, "fine-tuned", given)).load()
    (item,) = encode_examples(
        [Example(("dogs of dogs",), "1 0 1")], task.tokenizer,
        lambda label: [int(x) for x in label.split()], frame=Frame((2,), 3),
    )  # fmt: skip
    assert item.ids.tolist() == [2, 8, 9, 6, 8, 9] and item.label == [-1, 1, -1, 0, 1, -1]


@pytest.mark.parametrize(
    ("paper", "given", "message"),
    [
        (PAPER, {"tokenizer": "characters"}, "--tokenizer=characters: words or subwords"),
        (PAPER, {"rows": "windows"}, "--rows=windows: texts are masked whole"),
        (PAPER, {"mask_share": 0.95}, "fractions, of which the last two"),
        (PAPER, {"context": 64}, "--context=64 is more than --max_length=48 positions"),
        (FINETUNING, {"num_layers": 0}, "--num_layers=0 is that of --init_from=FOLDER"),
        (FINETUNING, {"max_words": 60}, "a text takes 62 positions, and this network has 48"),
        (FINETUNING, {"max_words": 31}, "--row_length=32: a text of --max_words=31 takes 33"),
        (FINETUNING, {"class_token": False}, "this network reads the state of that token"),
        (FINETUNING, {"tokenizer": "given"}, "needs --vocabulary=FOLDER, or --init_from=FOLDER"),
        (
            FINETUNING,
            {"data": "wnut17", "pooling": "mean"},
            "--pooling=mean: --data=wnut17 has a label a word",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, paper, given, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(paper, paper.default_row, tmp_path, **(TINY | given))


def test_a_start_of_another_kind_is_refused(published, tmp_path):
    start = {"init_from": str(published[0])}
    with pytest.raises(ValueError, match="--tokenizer=words: the embeddings of --init_from belong"):
        resolve(FINETUNING, "fine-tuned", TINY | start | {"tokenizer": "words"})
    with pytest.raises(ValueError, match="or a row that begins from it"):
        resolve(FINETUNING, "from-nothing", TINY | start)
    given = TINY | start | {"tokenizer": "given", "vocabulary": str(published[0]), "mlp_dim": 20}
    config = resolve(FINETUNING, "fine-tuned", given | {"vocab_size": 11})
    program = make_program(FINETUNING, config)
    message = r"blocks/mlp/input/bias is \(2, 32\) there and \(2, 20\) here"
    with pytest.raises(ValueError, match=message):
        starting_params(program, find)
    other = tmp_path / "roberta"
    other.mkdir()
    about = json.loads((published[0] / "config.json").read_text()) | {"layer_norm_eps": 0.5}
    (other / "config.json").write_text(json.dumps(about))
    (other / "model.safetensors").write_bytes((published[0] / "model.safetensors").read_bytes())
    given = TINY | {"tokenizer": "given", "init_from": str(other)} | dict.fromkeys(SIZES, 0)
    with pytest.raises(ValueError, match=r"its norm_epsilon is 0\.5; this network has 1e-12"):
        resolve(FINETUNING, "fine-tuned", given)


def test_an_absent_start_is_named(tmp_path):
    given = TINY | {"init_from": "absent", "tokenizer": "given", "vocabulary": "absent"}
    with pytest.raises(ValueError, match="--init_from=absent is no folder of a run"):
        run(FINETUNING, "fine-tuned", tmp_path, **(given | dict.fromkeys(SIZES, 0)))


def test_published_sizes_have_the_published_parameters():
    counts = {"BERT-base": 109_514_298, "BERT-large": 335_174_458}  # 30,522 words and one head
    for row, expected in counts.items():
        config = resolve(PAPER, row, {"scale": "paper"})
        shapes = make_program(PAPER, config).state_shapes().params
        assert sum(x.size for x in jax.tree.leaves(shapes)) == expected
