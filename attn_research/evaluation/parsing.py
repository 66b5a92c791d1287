"""Labelled-bracket precision, recall and F1 of constituency trees, as EVALB with COLLINS.prm."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

ROOT = "TOP"
PUNCTUATION = frozenset({",", ":", "``", "''", "."})  # part-of-speech tags
EQUAL_LABELS = {"PRT": "ADVP"}

Bracket = tuple[str, int, int]  # label, first word, word after the last


@runtime_checkable
class Node(Protocol):
    """A tree: a label over children, or over a word (a part-of-speech tag, without children)."""

    label: str
    children: tuple["Node", ...]
    word: str | None


@dataclasses.dataclass(frozen=True)
class ParsingScore:
    """Bracket scores over a corpus and complete matches, in percent, with their counts."""

    precision: float
    recall: float
    f1: float
    exact_match: float
    num_matched: int
    num_predicted: int
    num_gold: int
    num_sentences: int

    def __str__(self) -> str:
        counts = f"{self.num_matched} of {self.num_predicted} predicted, {self.num_gold} gold"
        return (
            f"F1 = {self.f1:.2f}, P = {self.precision:.2f}, R = {self.recall:.2f} ({counts}), "
            f"exact = {self.exact_match:.2f} of {self.num_sentences}"
        )


def bracket_score(predicted: Sequence[Node], gold: Sequence[Node]) -> ParsingScore:
    """Bracket scores of predicted trees against gold trees over the same words.

    Counts are summed over the corpus before they are divided (see `count_brackets`). The gold tags
    decide, for both trees, which words are punctuation, and so in no span: predicted tags are never
    read. A match is exact if all its brackets are. Sentences of punctuation alone are left out. A
    ValueError names the sentence whose two trees have different words.
    """
    if len(predicted) != len(gold):
        raise ValueError(f"{len(predicted)} predicted trees but {len(gold)} gold ones")
    num_matched = num_predicted = num_gold = num_exact = num_sentences = 0
    for index, (guess, truth) in enumerate(zip(predicted, gold, strict=True)):
        leaves, _ = _walk(truth)
        _check_words([leaf.word for leaf in _walk(guess)[0]], [leaf.word for leaf in leaves], index)
        tags = [leaf.label for leaf in leaves]
        if PUNCTUATION.issuperset(tags):
            continue
        found, wanted = count_brackets(guess, tags), count_brackets(truth, tags)
        num_matched += (found & wanted).total()
        num_predicted += found.total()
        num_gold += wanted.total()
        num_exact += found == wanted
        num_sentences += 1
    if not num_gold:
        raise ValueError("the gold trees hold no bracket, so recall is undefined")
    return ParsingScore(
        precision=100 * num_matched / num_predicted if num_predicted else 0.0,
        recall=100 * num_matched / num_gold,
        f1=100 * 2 * num_matched / (num_predicted + num_gold),
        exact_match=100 * num_exact / num_sentences,
        num_matched=num_matched,
        num_predicted=num_predicted,
        num_gold=num_gold,
        num_sentences=num_sentences,
    )


def count_brackets(tree: Node, tags: Sequence[str]) -> Counter[Bracket]:
    """The scored brackets of a tree over words tagged `tags`, with their counts.

    Words are counted without punctuation. TOP, part-of-speech tags and constituents of punctuation
    alone are no brackets; PRT counts as ADVP.
    """
    leaves, spans = _walk(tree)
    if len(leaves) != len(tags):
        raise ValueError(f"{len(tags)} tags for a tree of {len(leaves)} words")
    kept = [0, *itertools.accumulate(tag not in PUNCTUATION for tag in tags)]
    return Counter(
        (EQUAL_LABELS.get(label, label), kept[start], kept[end])
        for label, start, end in spans
        if label != ROOT and kept[start] < kept[end]
    )


def _walk(tree: Node) -> tuple[list[Node], list[Bracket]]:
    """The leaves of a tree and the spans of its constituents, punctuation counted."""
    leaves, spans = [], []
    todo: list[tuple[Node, int | None]] = [(tree, None)]  # with its start once it is open
    while todo:  # not recursive: an untrained model nests brackets hundreds deep
        node, start = todo.pop()
        if start is not None:
            spans.append((node.label, start, len(leaves)))
        elif node.children:
            todo.append((node, len(leaves)))
            todo += [(child, None) for child in reversed(node.children)]
        else:
            leaves.append(node)
    return leaves, spans


def _check_words(found: list[str | None], wanted: list[str | None], index: int) -> None:
    if len(found) != len(wanted):
        raise ValueError(
            f"sentence {index}: the predicted tree has {len(found)} words, the gold {len(wanted)}"
        )
    for position, (word, gold_word) in enumerate(zip(found, wanted, strict=True)):
        if word != gold_word:
            raise ValueError(
                f"sentence {index}, word {position}: {word!r} in the predicted tree, "
                f"{gold_word!r} in the gold"
            )
