"""Tokenized BLEU as in the papers (multi-bleu), detokenized BLEU (sacreBLEU), and chrF.

sacreBLEU counts; this module fixes the settings, keeps the signature with the score and refuses
text that would give a meaningless number.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Literal

import sacrebleu

# Perl's `split`, with which multi-bleu cuts words, knows ASCII whitespace alone; Python's knows
# Unicode's too. The other blanks become private characters, so that both cut the same words.
_KEPT_IN_WORDS = {c: 0xF0000 + c for c in range(0x1C, 0x3001) if chr(c).isspace() and c != 0x20}
_SUBWORD_MARK = re.compile("\\S@@(?=\\s|$)|\u2581")

Reference = str | Sequence[str]
SubwordMarks = Literal["refuse", "keep"]
Known = Callable[[str], bool] | Collection[str]


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


@dataclasses.dataclass(frozen=True)
class BleuStatistics:
    """Matches of each sentence with its references, of which corpus BLEU of any sentences is made.

    A row of `matches` is what sacreBLEU counts in a sentence; `worded` says whose references hold a
    word.
    """

    metric: sacrebleu.BLEU
    matches: Sequence[Sequence[int]]
    worded: Sequence[bool]

    def score(self, chosen: Iterable[int] | None = None) -> Bleu | None:
        """BLEU of all sentences or of the `chosen`; None where their references hold no word."""
        chosen = range(len(self.matches)) if chosen is None else list(chosen)
        if not any(self.worded[i] for i in chosen):
            return None
        # sacreBLEU's own tests of significance score by these two methods, for the same reason.
        result = self.metric._aggregate_and_compute([self.matches[i] for i in chosen])
        return Bleu(
            score=result.score,
            precisions=tuple(result.precisions),
            brevity_penalty=result.bp,
            hypothesis_length=result.sys_len,
            reference_length=result.ref_len,
            signature=str(self.metric.get_signature()),
        )


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
    return _required(tokenized_statistics(hypotheses, references, subword_marks=subword_marks))


def tokenized_statistics(
    hypotheses: Sequence[str],
    references: Sequence[Reference],
    *,
    subword_marks: SubwordMarks = "refuse",
) -> BleuStatistics:
    """Sentence by sentence, what `tokenized_bleu` is computed from."""
    hypotheses, streams = _checked(hypotheses, references, subword_marks)
    hypotheses = [line.translate(_KEPT_IN_WORDS) for line in hypotheses]
    streams = [[line and line.translate(_KEPT_IN_WORDS) for line in lines] for lines in streams]
    return _statistics(hypotheses, streams, tokenize="none", smooth_method="none", force=True)


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
    return _required(_statistics(hypotheses, streams, tokenize=tokenize, lowercase=lowercase))


def chrf(hypotheses: Sequence[str], references: Sequence[Reference]) -> Chrf:
    """Character F-score of detokenized text, sacreBLEU's default chrF2 (Popović 2015)."""
    metric = sacrebleu.CHRF()
    hypotheses, streams = _checked(hypotheses, references, "refuse")
    _check_words(_worded(streams))
    result = metric.corpus_score(hypotheses, streams)
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


def _statistics(
    hypotheses: list[str], streams: list[list[str | None]], **settings: str | bool
) -> BleuStatistics:
    metric = _metric(tuple(map(tuple, streams)), **settings)
    # With its own references, which the metric holds.
    matches = metric._extract_corpus_statistics(hypotheses, None) if hypotheses else []
    return BleuStatistics(metric, matches, _worded(streams))


@functools.lru_cache(maxsize=16)  # systems of a table share the references of a few test sets
def _metric(streams: tuple[tuple[str | None, ...], ...], **settings: str | bool) -> sacrebleu.BLEU:
    return sacrebleu.BLEU(**settings, references=streams)


def _worded(streams: list[list[str | None]]) -> list[bool]:
    """Whether the references of each sentence hold a word."""
    return [any(line and line.split() for line in group) for group in zip(*streams, strict=True)]


def _required(found: BleuStatistics) -> Bleu:
    """BLEU of all sentences; a ValueError where there is nothing to score."""
    _check_words(found.worded)
    return found.score()


def _check_words(worded: Sequence[bool]) -> None:
    if not worded:
        raise ValueError("nothing to score: the list of hypotheses is empty")
    if not any(worded):
        raise ValueError("the references hold no words")


def _checked(
    hypotheses: Sequence[str], references: Sequence[Reference], subword_marks: SubwordMarks
) -> tuple[list[str], list[list[str | None]]]:
    """The hypotheses and sacreBLEU's reference streams: first references, second references, ..."""
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise ValueError("score a list of lines, not one string")
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses but {len(references)} references")
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
    streams = [list(stream) for stream in itertools.zip_longest(*groups)]
    return list(hypotheses), streams
