"""Tokenized BLEU as in the papers (multi-bleu), detokenized BLEU (sacreBLEU), and chrF.

sacreBLEU counts; this module fixes the settings, keeps the signature with the score and refuses
text that would give a meaningless number.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import numpy as np
import sacrebleu

from attn_research.types import Int

# Perl's `split`, with which multi-bleu cuts words, knows ASCII whitespace alone; Python's knows
# Unicode's too. The other blanks become private characters, so that both cut the same words.
_KEPT_IN_WORDS = {c: 0xF0000 + c for c in range(0x1C, 0x3001) if chr(c).isspace() and c != 0x20}
_SUBWORD_MARK = re.compile("\\S@@(?=\\s|$)|\u2581")

Reference = str | Sequence[str]
SubwordMarks = Literal["refuse", "keep"]
Known = Callable[[str], bool] | Collection[str]
Settings = tuple[tuple[str, str | bool], ...]  # of sacreBLEU
Streams = list[list[str | None]]  # first references, second references, ...
_TOKENIZED = dict(tokenize="none", smooth_method="none", force=True)


@dataclasses.dataclass(frozen=True)
class Bleu:
    """Corpus BLEU in percent, with its components; printed as multi-bleu prints it."""

    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    hypothesis_length: int
    reference_length: int
    signature: str

    def __str__(self) -> str:
        precisions = "/".join(f"{precision:.1f}" for precision in self.precisions)
        ratio = self.hypothesis_length / self.reference_length
        lengths = f"hyp_len={self.hypothesis_length}, ref_len={self.reference_length}"
        penalty = f"BP={self.brevity_penalty:.3f}"
        return f"BLEU = {self.score:.2f}, {precisions} ({penalty}, ratio={ratio:.3f}, {lengths})"


@dataclasses.dataclass(frozen=True)
class Chrf:
    """Corpus chrF in percent."""

    score: float
    signature: str


def tokenized_bleu(
    hypotheses: Sequence[str],
    references: Sequence[Reference],
    *,
    subword_marks: SubwordMarks = "refuse",
) -> Bleu:
    """BLEU over whitespace tokens, the number that `multi-bleu.perl` prints.

    Case counts, nothing is smoothed (a precision of 0 makes the score 0), and of several references
    to a sentence the one closest in length counts for the brevity penalty, the shorter at a tie.
    Scores of differently tokenized text do not compare. What looks like a mark of subwords is
    refused, or kept where it is known to be text.
    """
    return _score(*_words(hypotheses, references, subword_marks), **_TOKENIZED)


def bleu_counts(
    hypotheses: Sequence[str], references: Sequence[Reference]
) -> Int[np.ndarray, "N 10"]:
    """What `tokenized_bleu` adds up of each sentence, for `bootstrap` to score any of them.

    The words, those of the closest reference, then the matches of 1- to 4-grams and their totals.
    """
    hypotheses, streams = _words(hypotheses, references, "keep")
    pairs, key = _with_references(hypotheses, streams), tuple(_TOKENIZED.items())
    return np.array([_matches(*pair, key) for pair in pairs])


def sacre_bleu(
    hypotheses: Sequence[str],
    references: Sequence[Reference],
    *,
    tokenize: str = "13a",
    lowercase: bool = False,
    subword_marks: SubwordMarks = "refuse",
) -> Bleu:
    """BLEU of detokenized text, tokenized by sacreBLEU itself, so that scores of papers compare.

    Quote the signature with the score (Post 2018, A Call for Clarity in Reporting BLEU Scores).
    Marks of subwords are those of `tokenized_bleu`.
    """
    if tokenize not in sacrebleu.BLEU.TOKENIZERS:
        names = ", ".join(sacrebleu.BLEU.TOKENIZERS)
        raise ValueError(f"sacreBLEU has no tokenizer {tokenize!r}; it has {names}")
    hypotheses, streams = _checked(hypotheses, references, subword_marks)
    return _score(hypotheses, streams, tokenize=tokenize, lowercase=lowercase)


def chrf(hypotheses: Sequence[str], references: Sequence[Reference]) -> Chrf:
    """Character F-score of detokenized text, sacreBLEU's default chrF2 (Popović 2015)."""
    metric = sacrebleu.CHRF()
    result = metric.corpus_score(*_checked(hypotheses, references, "refuse"))
    return Chrf(result.score, str(metric.get_signature()))


def has_words(references: Sequence[Reference]) -> bool:
    """Whether references hold a word, without which there is nothing to score."""
    groups = ([group] if isinstance(group, str) else group for group in references)
    return any(line.split() for group in groups for line in group)


def without_unknown(
    sources: Sequence[str],
    references: Sequence[str],
    known_source: Known,
    known_target: Known,
) -> list[int]:
    """Indices of the sentences without an unknown word in source or reference.

    This is the "No UNK" column of Bahdanau et al. 2014, Table 1. Lines are tokenized text;
    `known_*` is a vocabulary's words, best as a set, or a predicate on one word.
    """
    if len(sources) != len(references):
        raise ValueError(f"{len(sources)} sources but {len(references)} references")

    def all_known(line: str, known: Known) -> bool:
        return all(known(word) if callable(known) else word in known for word in line.split())

    return [
        index
        for index, (source, reference) in enumerate(zip(sources, references, strict=True))
        if all_known(source, known_source) and all_known(reference, known_target)
    ]


def _words(
    hypotheses: Sequence[str], references: Sequence[Reference], subword_marks: SubwordMarks
) -> tuple[list[str], Streams]:
    """Checked lines whose words are cut at ASCII whitespace alone."""
    hypotheses, streams = _checked(hypotheses, references, subword_marks)
    hypotheses = [line.translate(_KEPT_IN_WORDS) for line in hypotheses]
    return hypotheses, [
        [line and line.translate(_KEPT_IN_WORDS) for line in lines] for lines in streams
    ]


def _with_references(hypotheses: list[str], streams: Streams) -> list[tuple[str, tuple[str, ...]]]:
    references = (
        tuple(line for line in group if line is not None) for group in zip(*streams, strict=True)
    )
    return list(zip(hypotheses, references, strict=True))


def _score(hypotheses: list[str], streams: Streams, **settings: Any) -> Bleu:
    """Corpus BLEU; what was counted in a sentence serves every set of sentences with it."""
    pairs = _with_references(hypotheses, streams)
    metric, counts = sacrebleu.BLEU(**settings), {len(group) for _, group in pairs}
    metric.num_refs = counts.pop() if len(counts) == 1 else -1
    key = tuple(settings.items())
    # sacreBLEU's own tests of significance add up counts by this method, for the same reason.
    result = metric._aggregate_and_compute([_matches(*pair, key) for pair in pairs])
    return Bleu(
        score=result.score,
        precisions=tuple(result.precisions),
        brevity_penalty=result.bp,
        hypothesis_length=result.sys_len,
        reference_length=result.ref_len,
        signature=str(metric.get_signature()),
    )


@functools.lru_cache(maxsize=2**15)
def _matches(hypothesis: str, references: tuple[str, ...], settings: Settings) -> list[int]:
    """What sacreBLEU counts in a sentence."""
    metric = _metric(settings)
    known = _reference_counts(references, settings)
    return metric._compute_segment_statistics(metric._preprocess_segment(hypothesis), known)


@functools.lru_cache(maxsize=2**14)  # systems of a table share their references
def _reference_counts(references: tuple[str, ...], settings: Settings) -> dict[str, Any]:
    metric = _metric(settings)
    return metric._extract_reference_info([metric._preprocess_segment(x) for x in references])


@functools.lru_cache(maxsize=4)
def _metric(settings: Settings) -> sacrebleu.BLEU:
    return sacrebleu.BLEU(**dict(settings))


def _checked(
    hypotheses: Sequence[str], references: Sequence[Reference], subword_marks: SubwordMarks
) -> tuple[list[str], Streams]:
    """The hypotheses and sacreBLEU's reference streams: first references, second references, ..."""
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise ValueError("score a list of lines, not one string")
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses but {len(references)} references")
    if not hypotheses:
        raise ValueError("nothing to score: the list of hypotheses is empty")
    groups = [[group] if isinstance(group, str) else list(group) for group in references]
    for index, group in enumerate(groups):
        if not group:
            raise ValueError(f"sentence {index} has no reference")
        for role, line in [("hypothesis", hypotheses[index]), *(("reference", r) for r in group)]:
            if subword_marks == "refuse" and (mark := _SUBWORD_MARK.search(line)):
                raise ValueError(
                    f"{role} {index} still carries the subword mark {mark[0][-2:]!r}: "
                    "join the pieces to words before scoring"
                )
    if not has_words(groups):
        raise ValueError("the references hold no words")
    streams = [list(stream) for stream in itertools.zip_longest(*groups)]
    return list(hypotheses), streams
