"""BPE-dropout: random segmentations of words into subwords (Provilkov et al. 2020)."""

import array
import functools
import itertools
import random
from collections.abc import Sequence

import numpy as np

from attn_research.data.text.encoding import Encoded
from attn_research.data.text.reserved import SPACE_MARK as END_OF_WORD
from attn_research.data.text.tokenizers import SubwordTokenizer

NUM_SEGMENTATIONS = 32  # drawn of each word; every occurrence draws one of them again


def apply_bpe_dropout(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    tokenizer: SubwordTokenizer,
    rate: float,
    seed: int,
    copies: int = 1,
) -> Encoded:
    """The same sentences, `copies` times over, encoded with BPE-dropout.

    The pieces of a word are merged best first, but at every step each possible merge is dropped
    with probability `rate`. A pure function of its arguments.
    """
    vocabulary = tokenizer.pieces()
    ranks = {piece: rank for rank, piece in enumerate(vocabulary)}

    @functools.cache
    def segmentations(word: tuple[int, ...]) -> list[list[int]]:
        text = "".join(vocabulary[i] for i in word)
        if any(character not in ranks for character in text):
            return [list(word)]  # a character that the tokenizer does not know
        draw = random.Random(f"{seed} {text}")
        return [
            [ranks[p] for p in segment(text, ranks, rate, draw)] for _ in range(NUM_SEGMENTATIONS)
        ]

    ends = frozenset(i for i, piece in enumerate(vocabulary) if piece.endswith(END_OF_WORD))
    choose = random.Random(seed)
    ids, lengths = array.array("i"), array.array("H")
    repeated = itertools.chain.from_iterable(itertools.repeat(pairs, copies))
    for side in itertools.chain.from_iterable(repeated):
        before = len(ids)
        for word in _words(side.tolist(), ends):
            ids.extend(choose.choice(segmentations(word)))
        lengths.append(len(ids) - before)
    return Encoded(np.array(ids, np.int32), np.array(lengths, np.uint16).reshape(-1, 2))


def segment(text: str, ranks: dict[str, int], rate: float, draw: random.Random) -> list[str]:
    """A random segmentation of one word with its end mark; merges of lower rank come first."""
    pieces = list(text)
    while True:
        merges = [
            (ranks[a + b], i)
            for i, (a, b) in enumerate(itertools.pairwise(pieces))
            if a + b in ranks and draw.random() >= rate
        ]
        if not merges:
            return pieces
        _, i = min(merges)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


def _words(ids: list[int], ends: frozenset[int]):
    """The ids of each word of a sentence."""
    start = 0
    for stop, piece in enumerate(ids, 1):
        if piece in ends:
            yield tuple(ids[start:stop])
            start = stop
    if start < len(ids):
        yield tuple(ids[start:])
