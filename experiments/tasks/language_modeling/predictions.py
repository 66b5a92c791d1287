"""Likelihoods of test texts, line by line, and their scores.

Of each test text `SET.windows.tsv` is of windows that do not overlap, where a token has 0 to
`context` - 1 tokens before it. `SET.strided.tsv` is of windows with a stride, where it has at least
`context` - `stride`, if its document has so many. A line of a file has the number of tokens, words
and characters of a line of the text, its end included, and its log-probability in nats. Perplexity
and bits are computed from these files alone.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attn_research.data.files import read_lines, write_whole
from attn_research.evaluation.likelihood import LineLikelihood, bits, perplexity, total
from experiments.harness.task import kept_file

SCORINGS = ("windows", "strided")
_HEADER = "\t".join(LineLikelihood._fields)


def likelihood_path(folder: Path, name: str, scoring: str) -> Path:
    """The file of the lines of a test text."""
    return folder / f"{name}.{scoring}.tsv"


def write_likelihoods(path: Path, lines: Iterable[LineLikelihood]) -> None:
    """Writes the likelihoods of lines, log-probabilities to four decimals."""
    rows = [
        f"{each.tokens}\t{each.words}\t{each.characters}\t{each.log_prob:.4f}" for each in lines
    ]
    write_whole(path, "\n".join([_HEADER, *rows, ""]).encode())


def read_likelihoods(path: Path) -> list[LineLikelihood]:
    """The likelihoods that `write_likelihoods` wrote; a ValueError names the line at fault."""
    header, *lines = read_lines(kept_file(path))
    if header != _HEADER:
        raise ValueError(f"{path} begins with {header!r:.60} and should with {_HEADER!r}")
    found = []
    for number, line in enumerate(lines, 2):
        try:
            tokens, words, characters, log_prob = line.split("\t")
            found.append(LineLikelihood(int(tokens), int(words), int(characters), float(log_prob)))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    if not found:
        raise ValueError(f"{path} holds no line")
    return found


def score_all(folder: Path, tests: Iterable[str], tokenizer: str) -> dict[str, Any]:
    """The scores of test texts from the files of a folder."""
    hashes, scores = {}, {}
    for name in tests:
        scores[name] = {}
        for scoring in SCORINGS:
            path = likelihood_path(folder, name, scoring)
            scores[name][scoring] = _score(total(read_likelihoods(path)), tokenizer)
            hashes[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"tests": scores, "predictions": hashes}


def _score(sums: LineLikelihood, tokenizer: str) -> dict[str, float]:
    scores = {
        "tokens": sums.tokens,
        "loss": -sums.log_prob / sums.tokens,
        "perplexity": perplexity(sums.log_prob, sums.tokens),
    }
    # A given tokenizer may have characters, bytes or pieces of words.
    if tokenizer in ("characters", "bytes", "given"):
        scores["bits_per_character"] = bits(sums.log_prob, sums.characters)
    if tokenizer in ("subwords", "given"):
        scores["word_perplexity"] = perplexity(sums.log_prob, sums.words)
    return {name: round(value, 6) for name, value in scores.items()}
