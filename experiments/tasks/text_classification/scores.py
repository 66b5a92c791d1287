"""Scores of the test set, from the predictions that were kept: a label a line."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attn_research.data.grammar.agreement import AgreementCorpus
from attn_research.data.text.labelled import Labels
from attn_research.evaluation.classification import (
    accuracy,
    f1,
    macro_f1,
    matthews_correlation,
    pearson_correlation,
    spearman_correlation,
)
from attn_research.evaluation.spans import span_score
from experiments.harness.task import kept_file
from experiments.tasks.text_classification.config import LabelledTextConfig
from experiments.tasks.text_classification.data import corpus, examples, labels_of

PREDICTIONS = "test.predictions.txt"
# The titles of what a table has of a test set, by their names among the scores.
TITLES = {
    "accuracy": "accuracy", "f1": "F1", "matthews": "Matthews", "pearson": "Pearson",
    "spearman": "Spearman",
}  # fmt: skip
ATTENDED = "test.attended.json"  # of each example, the word that each row attends to most


def measured(runs: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """What a table has of the runs of a row, by title: of the test set, and what chose them."""
    tests = [run["scores"]["tests"]["test"] for run in runs]
    found = {
        f"test {title}": [test[name] for test in tests]
        for name, title in TITLES.items()
        if name in tests[0]
    }
    chosen = runs[0]["config"]["best_by"].lstrip("+-")
    best = chosen if chosen in TITLES else "accuracy" if "accuracy" in tests[0] else "pearson"
    return found | {f"dev {TITLES[best]}": [run[f"dev_{best}"] for run in runs]}


def score(config: LabelledTextConfig, folder: Path) -> dict[str, Any]:
    """The scores, and the SHA-256 of the predictions and of the labels and texts they are of."""
    gold = examples(config, "test")
    data = kept_file(folder / PREDICTIONS).read_bytes()
    lines = data.decode().split("\n")[:-1]
    if len(lines) != len(gold):
        raise ValueError(f"{folder / PREDICTIONS} has {len(lines)} lines for {len(gold)} examples")
    right = [example.label for example in gold]
    try:
        found = score_lines(labels_of(config), lines, right, corpus(config).classes)
    except ValueError as error:
        raise ValueError(f"{folder / PREDICTIONS}: {error}") from None
    hashes = {PREDICTIONS: hashlib.sha256(data).hexdigest()}
    if (folder / ATTENDED).is_file():
        data = (folder / ATTENDED).read_bytes()
        hashes[ATTENDED] = hashlib.sha256(data).hexdigest()
        found |= _pointing(corpus(config), json.loads(data))
    return {
        "tests": {"test": {name: round(value, 6) for name, value in found.items()}},
        "predictions": hashes,
        "gold": {"test": corpus(config).fingerprint("test")},
    }


def score_lines(
    labels: Labels, found: Sequence[str], gold: Sequence[str], classes: Sequence[str]
) -> dict[str, float]:
    """The scores of predicted labels; ValueError for one that is none.

    Of two classes "f1" is that of the second, of more their mean; of tags it is that of spans.
    """
    size = {"examples": len(gold)}
    if labels == "numbers":
        sides = [[float(line) for line in side] for side in (found, gold)]
        return size | {
            "pearson": pearson_correlation(*sides),
            "spearman": spearman_correlation(*sides),
        }
    words = [line.split() for line in found] if labels == "tags" else [[line] for line in found]
    if unknown := sorted({word for line in words for word in line} - set(classes)):
        raise ValueError(f"{unknown[0]!r} is none of the classes {', '.join(classes)}")
    if labels == "tags":
        right = [line.split() for line in gold]
        spans = span_score(words, right)
        flat = [[tag for line in side for tag in line] for side in (words, right)]
        return size | {
            "f1": spans.f1,
            "precision": spans.precision,
            "recall": spans.recall,
            "accuracy": accuracy(*flat),
        }
    two = len(classes) == 2
    return size | {
        "accuracy": accuracy(found, gold),
        "f1": f1(found, gold, classes[1]) if two else macro_f1(found, gold),
        "matthews": matthews_correlation(found, gold),
    }


def _pointing(data: AgreementCorpus, attended: Sequence[Sequence[int]]) -> dict[str, float]:
    """The fraction of examples in which some row attends most to the noun that decides."""
    heads = [each.head for each in data.agreements("test")]
    hits = [head in rows for head, rows in zip(heads, attended, strict=True)]
    return {"attends_to_head": sum(hits) / len(hits)}
