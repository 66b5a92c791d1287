"""Scores of translations, computed from the predictions that were kept and nothing else.

`experiments.tasks.translation.predictions` describes the files and writes them.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attn_research.data.text.corpus import Pair
from attn_research.data.text.tokenizers import detokenize
from attn_research.data.text.treebank import LINES, Tree, from_linear
from attn_research.evaluation.alignment import Gold, alignment_error
from attn_research.evaluation.bleu import Bleu, has_words, sacre_bleu, tokenized_bleu
from attn_research.evaluation.by_length import bleu_by_bucket, bleu_by_window
from attn_research.evaluation.parsing import bracket_score
from experiments.harness.task import kept_file
from experiments.tasks.translation import pronouns

EDGES = (3, 10, 20, 30, 40, 50, 61)


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    score: Callable[..., Bleu] = tokenized_bleu,
) -> Bleu | None:
    """BLEU of translations; None of a subset that holds no word to score.

    Tokenizers give text back as it was: what looks like a mark of subwords in it is text.
    """
    if not has_words(references):
        return None
    return score(hypotheses, references, subword_marks="keep")


def score(pairs: Sequence[Pair], name: str, folder: Path, language: str) -> dict[str, Any]:
    """Every number of one test set, from the predictions in a folder and nothing else."""
    hypotheses = _read_hypotheses(folder / f"{name}.hypotheses.txt", len(pairs))
    references = [pair.target for pair in pairs]
    lengths = [len(pair.source.split()) for pair in pairs]
    all_words = bleu(hypotheses, references)
    written = bleu(
        [detokenize(line, language) for line in hypotheses],
        [detokenize(line, language) for line in references],
        score=sacre_bleu,
    )
    scores: dict[str, Any] = {
        "bleu": _rounded(all_words),
        "bleu_detail": None if all_words is None else str(all_words),
        "sacrebleu": _rounded(written),
        "sacrebleu_signature": None if written is None else written.signature,
        "by_length": [
            {"low": s.low, "high": s.high, "count": s.count, "bleu": _rounded(s.bleu)}
            for s in bleu_by_bucket(lengths, hypotheses, references, edges=EDGES, score=bleu)
        ],
        "curve": [
            [s.center, _rounded(s.bleu)]
            for s in bleu_by_window(
                lengths, hypotheses, references, half_width=3, centers=range(3, 61), score=bleu
            )
        ],
    }
    long = [i for i, length in enumerate(lengths) if length >= 40]
    if long:
        scores["bleu_40"] = _rounded(
            bleu([hypotheses[i] for i in long], [references[i] for i in long])
        )
    if (folder / f"{name}.no_unk.txt").exists():
        rows = [line.split("\t") for line in _read_lines(folder / f"{name}.no_unk.txt")]
        clean = bleu([row[1] for row in rows], [references[int(row[0])] for row in rows])
        scores |= {"bleu_no_unk": _rounded(clean), "no_unk_sentences": len(rows)}
    if (folder / f"{name}.replaced.txt").exists():
        replaced = bleu(_read_lines(folder / f"{name}.replaced.txt"), references)
        scores["bleu_replaced"] = _rounded(replaced)
    gold = [Gold(pair.sure, pair.possible) for pair in pairs]
    if (folder / f"{name}.soft.txt").exists():
        soft = [
            {_link(link): float(weight) for link, weight in (x.split(":") for x in line.split())}
            for line in _read_lines(folder / f"{name}.soft.txt")
        ]
        scores["soft_aer"] = round(alignment_error(soft, gold).error_rate, 6)
    if (folder / f"{name}.links.txt").exists():
        links = [
            {_link(link) for link in line.split()}
            for line in _read_lines(folder / f"{name}.links.txt")
        ]
        found = alignment_error(links, gold)
        scores |= {
            "aer": round(found.error_rate, 6),
            "precision": round(found.precision, 6),
            "recall": round(found.recall, 6),
        }
    if (folder / f"{name}.heads.json").exists():
        scores["heads"] = _score_heads(
            json.loads((folder / f"{name}.heads.json").read_bytes()), gold
        )
    if (folder / f"{name}.pronouns.json").exists():
        scores["pronouns"] = pronouns.score(folder / f"{name}.pronouns.json")
    return scores


def score_trees(gold: Sequence[Tree], name: str, folder: Path, *, tagged: bool) -> dict[str, Any]:
    """Labelled brackets of generated trees; what is no tree is read as one (see `from_linear`)."""
    lines = _read_hypotheses(folder / f"{name}.hypotheses.txt", len(gold))
    readings = [
        from_linear(line, tree.words, tagged=tagged) for line, tree in zip(lines, gold, strict=True)
    ]
    found = bracket_score([reading.tree for reading in readings], gold)
    tags = [
        guess == right
        for reading, tree in zip(readings, gold, strict=True)
        for guess, right in zip(reading.tree.tags, tree.tags, strict=True)
    ]
    return {
        "f1": round(found.f1, 4),
        "precision": round(found.precision, 4),
        "recall": round(found.recall, 4),
        "exact_match": round(found.exact_match, 4),
        "sentences": found.num_sentences,
        "malformed": sum(reading.num_repairs > 0 for reading in readings),
        **({"tag_accuracy": round(100 * sum(tags) / len(tags), 4)} if tagged else {}),
    }


def _score_heads(rows: list, gold: Sequence[Gold]) -> dict[str, list]:
    """The alignment error rate by layer and head, a row being of the word predicted or taken in."""
    layers, heads = len(rows[0]), len(rows[0][0])

    def rate(layer: int, head: int, first: int) -> float:
        links = []
        for sentence in rows:
            looked = sentence[layer][head]
            words = looked[first : first + len(looked) - 1]
            links.append(frozenset((source, target) for target, source in enumerate(words)))
        return round(alignment_error(links, gold).error_rate, 4)

    return {
        row_of: [[rate(layer, head, first) for head in range(heads)] for layer in range(layers)]
        for row_of, first in (("predicted", 0), ("input", 1))
    }


def score_all(
    tests: dict[str, Sequence[Pair] | Sequence[Tree]], folder: Path, language: str
) -> dict[str, Any]:
    """The scores of every test set, and the SHA-256 of each file they were computed from."""
    kinds = ("*.txt", "*.heads.json", "*.pronouns.json")
    files = sorted(path for kind in kinds for path in folder.glob(kind))
    if language in LINES:
        tagged = LINES[language]
        found = {
            name: score_trees(trees, name, folder, tagged=tagged) for name, trees in tests.items()
        }
    else:
        found = {name: score(pairs, name, folder, language) for name, pairs in tests.items()}
    return {
        "tests": found,
        "predictions": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }


def _read_hypotheses(path: Path, count: int) -> list[str]:
    lines = _read_lines(path)
    if len(lines) != count:
        raise ValueError(f"{path} has {len(lines)} lines for {count} pairs")
    return lines


def _link(text: str) -> tuple[int, int]:
    source, target = map(int, text.split("-"))
    return source, target


def _rounded(found: Bleu | None) -> float | None:
    return None if found is None else round(found.score, 4)


def _read_lines(path: Path) -> list[str]:
    return kept_file(path).read_text(encoding="utf-8").split("\n")[:-1]
