"""Flags that the user gave: without effect or against a row they are refused, others are named."""

import itertools
import re

import jax
import pytest

from experiments.harness.config import Config, names_in
from experiments.harness.given import check_given, folder_name, label
from experiments.harness.paper import resolve
from experiments.harness.program import make_program
from experiments.papers import find, names
from tests.experiments.contributing import ROOT


@pytest.mark.parametrize(
    ("paper", "row", "given", "message"),
    [
        # Without effect.
        (
            "bahdanau2014", "RNNencdec-50", {"score": "dot"},
            "--score=dot has no effect with --attention=False, which row RNNencdec-50 sets: "
            "remove it, or choose --row=RNNsearch-30",
        ),
        ("bahdanau2014", "RNNencdec-50", {"locality": "local_m"}, "--locality=local_m has no eff"),
        ("bahdanau2014", "RNNencdec-50", {"implementation": "tiled"}, "which row RNNencdec-50 set"),
        (
            "bahdanau2014", "RNNsearch-50", {"half_width": 4},
            "--half_width=4 has no effect with --locality=global: remove it, or give "
            "--locality=local_m or longformer or sinks or local_p",
        ),
        ("bahdanau2014", "RNNsearch-50", {"score": "general", "alignment": 8}, "--score=additive"),
        ("xu2015", "none", {"penalty": 1.0}, "--regions=mean, which row none sets"),
        ("xu2015", "soft", {"reward": 1.0}, "--regions=soft, which row soft sets"),
        (
            "flamingo2022", "last", {"data": "nlvr", "language_learns": "texts"},
            "with --data=nlvr: remove it, or give --data=scenes or easy_vqa",
        ),
        ("bahdanau2014", "RNNsearch-50", {"train": "a,b"}, "with --data=grammar: .* --data=text"),
        ("bahdanau2014", "RNNsearch-50", {"data_dir": "x"}, "with --data=grammar"),
        ("bahdanau2014", "RNNsearch-50", {"data": "multi30k", "train_pairs": 5}, "--data=grammar"),
        ("bahdanau2014", "RNNsearch-50", {"bpe_dropout": 0.1}, "--tokenizer=words.*--tokenizer=bp"),
        ("bahdanau2014", "RNNsearch-50", {"row_length": 64}, "with --batching=sorted"),
        ("bahdanau2014", "RNNsearch-50", {"dictionary_pairs": 9}, "--replace_unknown=False"),
        (
            "bahdanau2014", "RNNsearch-50", {"schedule": "constant", "warmup_steps": 2},
            "--warmup_steps=2 has no effect with --schedule=constant: remove it, or give "
            "--schedule=cosine or inverse_sqrt",
        ),
        ("bahdanau2014", "RNNsearch-50", {"weight_decay": 0.1}, "--optimizer=adamw or ad"),
        ("luong2015", "base", {"dropout": 0.3}, "--regularize=False, which row base sets"),
        ("vaswani2017", "RNNsearch", {"num_heads": 2}, "--network=rnnsearch, which row RNNsearch"),
        ("vaswani2017", "base", {"network": "rnnsearch", "score": "dot"}, "--network=transformer"),
        ("vaswani2017", "base", {"max_positions": 9}, "--positions=learned"),
        ("vit2020", "small", {"image_dir": "x"}, "with --data=digits: .* --data=folder"),
        ("vit2020", "small", {"stem_width": 32}, "--stem_stages=0: .* --stem_stages another value"),
        (
            "vit2020", "small", {"mesh": "data=2", "placement": "jit"},
            "--placement=auto or sharded or pmap",
        ),
        ("vit2020", "small", {"cpu_devices": 2, "placement": "jit"}, "--placement=auto or sharded"),
        ("vit2020", "small", {"normalizer_keys": 3}, "--normalizer=sigmoid or top_k"),
        ("vaswani2017", "RNNsearch", {"normalizer": "entmax15"}, "--network=rnnsearch, which row"),
        ("bahdanau2014", "RNNencdec-50", {"normalizer": "top_k"}, "--attention=False, which row"),
        # Against what a row sets itself.
        (
            "luong2015", "general", {"score": "dot"},
            "--score=dot: row general sets score=general itself; remove the flag, or choose "
            "--row=dot$",
        ),
        ("luong2015", "general", {"score": "scaled_dot"}, "a row of your own to experiments/luong"),
        ("luong2015", "ensemble", {"score": "dot"}, "row location sets score=location itself"),
        ("bahdanau2014", "RNNsearch-50", {"attention": False}, "choose --row=RNNencdec-50$"),
        ("vaswani2017", "A-1-head", {"num_heads": 4}, "row A-1-head sets num_heads=1 itself"),
        ("vaswani2017", "D-no-dropout", {"dropout": 0.2}, "choose --row=D-dropout-0.2$"),
        ("vit2020", "B/16", {"scale": "paper", "patch": 8}, "row B/16 sets patch=16 itself"),
    ],
)  # fmt: skip
def test_a_flag_is_refused_with_the_reason(paper, row, given, message):
    with pytest.raises(ValueError, match=message):
        check_given(find(paper), row, {"scale": "tiny", **given})


@pytest.mark.parametrize(
    ("paper", "row", "given"),
    [
        ("bahdanau2014", "RNNsearch-50", {"score": "scaled_dot"}),
        ("vaswani2017", "base", {"score": "additive"}),
        ("vit2020", "small", {"mask": "local_m"}),
    ],
)
def test_a_mechanism_by_flag_is_part_of_the_name(paper, row, given):
    paper = find(paper)
    check_given(paper, row, given)
    ((name, value),) = given.items()
    assert label(paper, row, given) == f"{row}, {name}={value}"
    config = resolve(paper, row, given)
    assert folder_name(paper, row, given, config) == f"{row},{name}={value}.seed0"


def test_a_name_has_no_lengths_of_training_nor_what_is_as_it_was():
    paper = find("vaswani2017")
    given = {"scale": "tiny", "num_steps": 3, "learning_rate": 0.5, "num_heads": 2, "dropout": 0.1}
    assert label(paper, "base", given) == "base"
    assert label(paper, "base", given | {"label_smoothing": 0.2}) == "base, label_smoothing=0.2"


def test_a_name_of_many_values_fits_a_file_system():
    paper = find("vaswani2017")
    part = paper.config.model
    changes = {"num_layers": 7, "model_dim": 888, "mlp_dim": 999, "num_heads": 8, "head_dim": 111}
    changes |= {"value_dim": 33, "score": "additive", "attention_dropout": 0.25, "pre_norm": True}
    assert all(getattr(part, name) != value for name, value in changes.items())
    names = {
        folder_name(paper, "base", changes | {"hidden": n}, resolve(paper, "base", {}))
        for n in (5, 6)
    }
    assert len(names) == 2 and all(len(name) < 100 for name in names)


def test_a_scale_that_a_paper_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"--scale=paper: lora2021\.few has tiny and small"):
        resolve(find("lora2021.few"), "lora-100", {"scale": "paper"})


def test_conditions_name_values_that_there_are():
    for paper in map(find, names()):
        known = paper.config.values()
        clauses = [c for _, field in paper.config.fields() for c in field.metadata["needs"]]
        clauses += itertools.chain.from_iterable(paper.needs.values())
        assert {name for clause in clauses for name in clause} <= known.keys()
        assert paper.needs.keys() <= known.keys()


def program_text(paper, config: Config) -> str:
    """The network's initialization and loss, as programs."""
    program = make_program(paper, config)
    key, batch = jax.random.key(0), program.task.batch_spec()
    init, params = jax.make_jaxpr(program.init, return_shape=True)(key)
    return f"{init} {jax.make_jaxpr(program.loss)(params, batch, key)}"


# Another value of every value of a network.
OTHERS = {int: lambda x: x + 2, float: lambda x: x / 2 + 0.125, bool: lambda x: not x}


@pytest.mark.parametrize(
    ("name", "row", "given"),
    [
        ("bahdanau2014", "RNNencdec-50", {}),
        ("vaswani2017", "RNNsearch", {}),
        ("vit2020", "small", {"dropout": 0.5}),
    ],
)
def test_what_is_refused_is_what_changes_no_program(name, row, given):
    paper = find(name)
    given = {"scale": "tiny", **given}
    config = resolve(paper, row, given)
    before = program_text(paper, config)
    for owner, field in config.fields():
        value_name, kind = field.name, field.type
        if value_name not in names_in(config.model) or kind not in OTHERS:
            continue
        if value_name == "attention":  # another network
            continue
        changed = {value_name: OTHERS[kind](getattr(owner, value_name))}
        try:
            check_given(paper, row, given | changed)
            used = True
        except ValueError as error:
            if "no effect" not in str(error):
                continue  # the row sets it
            used = False
        try:
            after = program_text(paper, config.replace(**changed))
        except ValueError:  # sizes that do not fit each other
            continue
        assert (after != before) == used, value_name


def documented():
    """(paper, words) of every command in a page, a script of CI or a table of committed results."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "experiments").rglob("*.md")]
    pages += [*(ROOT / ".ci").iterdir(), ROOT / "Makefile"]
    for page in pages:
        text = page.read_text().replace("\\\n", " ")
        for paper, words in re.findall(r"experiments\.(\w+\d{4}(?:\.\w+)?)\b([^`\n#&|]*)", text):
            if (ROOT / "experiments" / paper.replace(".", "/") / "__main__.py").is_file():
                yield paper, tuple(words.split())


def test_no_documented_command_is_refused():
    commands = set(documented())
    assert len(commands) > 40
    for name, words in commands:
        paper = find(name)
        types = {field.name: field.type for _, field in paper.config.fields()}
        read = {bool: lambda word: word == "True", int: int, float: float}
        flags = dict(word[2:].partition("=")[::2] for word in words if word[:2] == "--")
        rows = flags.pop("row", paper.default_row)
        given = {
            flag: read.get(types[flag], str)(text)
            for flag, text in flags.items()
            if flag in types and text and not (types[flag] is int and not text.isdecimal())
        }
        for row in paper.rows if "table" in flags else rows.split(","):
            if row in paper.rows and given.get("score") != "cosine":  # of CONTRIBUTING.md
                check_given(paper, row, given)
