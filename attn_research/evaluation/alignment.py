"""Word alignments from attention weights, and their alignment error rate against gold links.

A link is (source word, target word), counted from 0.
"""

import dataclasses
from collections.abc import Mapping, Sequence, Set
from typing import Literal

import numpy as np

from attn_research.types import Float

Link = tuple[int, int]
RowOf = Literal["predicted", "input"]


@dataclasses.dataclass(frozen=True)
class Gold:
    """The gold links of one sentence pair; every sure link is possible too (Och & Ney 2003)."""

    sure: frozenset[Link]
    possible: frozenset[Link]

    def __post_init__(self):
        object.__setattr__(self, "possible", self.possible | self.sure)


@dataclasses.dataclass(frozen=True)
class AlignmentScore:
    """Alignment error rate, precision and recall over a corpus, as fractions."""

    error_rate: float
    precision: float
    recall: float


def alignment_error(
    predicted: Sequence[Set[Link] | Mapping[Link, float]], gold: Sequence[Gold]
) -> AlignmentScore:
    """AER = 1 - (|A & S| + |A & P|) / (|A| + |S|), precision |A & P| / |A|, recall |A & S| / |S|.

    Och & Ney 2003, section 4. The sizes are summed over the corpus before they are divided. A is
    one set of links a sentence; a mapping from link to weight gives fractional links instead (soft
    AER), each counting as its weight. Precision is 0 where nothing was predicted.
    """
    if len(predicted) != len(gold):
        raise ValueError(f"{len(predicted)} predicted alignments but {len(gold)} gold ones")
    num_sure = sum(len(pair.sure) for pair in gold)
    if not num_sure:
        raise ValueError("the gold alignments hold no sure link, so recall is undefined")
    total = in_sure = in_possible = 0.0
    for links, pair in zip(predicted, gold, strict=True):
        weights = links if isinstance(links, Mapping) else dict.fromkeys(links, 1.0)
        total += sum(weights.values())
        in_sure += sum(weight for link, weight in weights.items() if link in pair.sure)
        in_possible += sum(weight for link, weight in weights.items() if link in pair.possible)
    return AlignmentScore(
        error_rate=1 - (in_sure + in_possible) / (total + num_sure),
        precision=in_possible / total if total else 0.0,
        recall=in_sure / num_sure,
    )


def links_from_weights(
    weights: Float[np.ndarray, "T S"],
    source_length: int,
    target_length: int,
    row_of: RowOf = "predicted",
) -> frozenset[Link]:
    """One link for each target word, to the source word of largest weight (the first at a tie).

    Lengths count words. The row and column of the end symbol and padding are removed before the
    maximum is taken: a word that attends most to the end symbol is linked to the real word that it
    attends to most.

    `row_of` is the target word that a row belongs to: the one `predicted` at that step, or the one
    that was its `input`, so that word j takes row j + 1 and the last word the end symbol's row.
    Luong et al. 2015, footnote 14: predicted with location-based scores, input with content-based.
    """
    best = _words_only(weights, source_length, target_length, row_of).argmax(axis=1)
    return frozenset((int(source), target) for target, source in enumerate(best))


def soft_links(
    weights: Float[np.ndarray, "T S"],
    source_length: int,
    target_length: int,
    row_of: RowOf = "predicted",
) -> dict[Link, float]:
    """Every weight between real words as a fractional link, for the soft error rate.

    Lengths and `row_of` are those of `links_from_weights`.
    """
    words = _words_only(weights, source_length, target_length, row_of)
    return {(source, target): float(weight) for (target, source), weight in np.ndenumerate(words)}


def words_from_pieces(
    weights: Float[np.ndarray, "T S"], source_groups: Sequence[int], target_groups: Sequence[int]
) -> Float[np.ndarray, "T_words S_words"]:
    """Attention weights between words from those between subwords, with the sums of rows kept.

    A group list gives the word of each piece, as in [0, 0, 1, 2, 2]; an end symbol is a word of its
    own. A source word gets the sum of its pieces, a target word the mean of its pieces.
    """
    for axis, name, groups in ((1, "source", source_groups), (0, "target", target_groups)):
        if len(groups) != weights.shape[axis]:
            raise ValueError(
                f"{len(groups)} {name} groups for weights with {weights.shape[axis]} {name} pieces"
            )
        if list(groups) != sorted(groups) or set(groups) != set(range(len(set(groups)))):
            raise ValueError(f"{name} groups must count up from 0 without a gap; got {groups}")
    to_source = np.equal.outer(source_groups, np.unique(source_groups))
    from_target = np.equal.outer(np.unique(target_groups), target_groups)
    return (from_target / from_target.sum(axis=1, keepdims=True)) @ weights @ to_source


def _words_only(
    weights: np.ndarray, source_length: int, target_length: int, row_of: RowOf
) -> np.ndarray:
    rows, columns = weights.shape
    first = {"predicted": 0, "input": 1}[row_of]
    if not (1 <= source_length <= columns and 0 <= target_length <= rows - first):
        raise ValueError(
            f"weights of {rows} target rows and {columns} source columns cannot hold "
            f"{target_length} target and {source_length} source words, a row being that of the "
            f"{row_of} word"
        )
    words = weights[first : first + target_length, :source_length]
    if not np.isfinite(words).all():
        raise ValueError("attention weights are not finite")
    return words
