"""Blanks in lines of a test text: one word of each is predicted, and kept beside what it is.

A line of `SET.blanks.tsv` has the number of a line of the text, the place of the word in it, the
word, the word that is predicted from both sides with the log-probability of the right one in nats,
and the same from the words before alone. Scores are computed from this file alone.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Int32

from attn_research.data.batching import spread_evenly
from attn_research.data.files import read_lines, write_whole
from attn_research.data.text.masking import example_rng
from attn_research.data.text.tokenizers import PAD
from attn_research.training.cores import over_cores
from attn_research.types import Array, Float, Int, PyTree
from experiments.harness.task import kept_file

Ids = Int32[np.ndarray, "_"]
SIDES = ("filled", "continued")
_HEADER = "line\tplace\tword\tfilled\tfilled_log_prob\tcontinued\tcontinued_log_prob"


class Blank(NamedTuple):
    """A line as ids with those around it, and the place of the id to predict."""

    line: int
    ids: Ids
    place: int


def draw_blanks(lines: Sequence[Ids], words: range, count: int, longest: int) -> list[Blank]:
    """A word of each of `count` lines spread evenly over those that fit, at a place of its own."""
    found = []
    for number, ids in enumerate(lines):
        places = np.flatnonzero((ids >= words.start) & (ids < words.stop))
        if len(places) >= 2 and len(ids) <= longest:
            place = int(example_rng(0, number).choice(places[1:]))
            found.append(Blank(number, ids, place))
    return [found[i] for i in spread_evenly(len(found), count)]


class Guesses(NamedTuple):
    """The most probable id of each blank, and the log-probability of the right one."""

    ids: Int[np.ndarray, "_"]
    log_probs: Float[np.ndarray, "_"]


class Reader:
    """Networks that predict single ids of texts of at most `longest`; the mean of what they say.

    With a `mask` a blank is an id that is read, without one the id before it predicts it.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        params: Sequence[PyTree],
        mask: int | None,
        longest: int,
    ):
        self._params, self._mask, self._longest = tuple(params), mask, longest
        self._log_probs = _log_probs(tuple(networks))

    def log_probs(self, texts: Sequence[Ids], places: Sequence[int]) -> Float[np.ndarray, "_ V"]:
        """The log-probabilities of all ids at a place of each text."""
        return np.concatenate(list(self._batches(texts, places)))

    def of_right(self, texts: Sequence[Ids], places: Sequence[int]) -> Float[np.ndarray, "_"]:
        """The log-probability of the id that is at a place of each text."""
        right = iter([ids[place] for ids, place in zip(texts, places, strict=True)])
        return np.array([row[next(right)] for rows in self._batches(texts, places) for row in rows])

    def _batches(
        self, texts: Sequence[Ids], places: Sequence[int]
    ) -> Iterator[Float[np.ndarray, "_ V"]]:
        longest = max(map(len, texts))
        if longest > self._longest:
            raise ValueError(f"a text of {longest} tokens: at most {self._longest} are read")
        width = min(self._longest, -(-longest // _ROUND) * _ROUND)
        for start in range(0, len(texts), _ROWS):
            rows = np.full((_ROWS, width), PAD, np.int32)
            at = np.zeros(_ROWS, np.int32)
            some, places_of = texts[start : start + _ROWS], places[start : start + _ROWS]
            for row, (ids, place) in enumerate(zip(some, places_of, strict=True)):
                rows[row, : len(ids)] = ids
                if self._mask is not None:
                    rows[row, place] = self._mask
                at[row] = place if self._mask is not None else place - 1
            found = np.asarray(self._log_probs(self._params, {"ids": rows, "at": at}))
            yield found[: len(some)]

    def guess(self, blanks: Sequence[Blank], *, whole: bool) -> Guesses:
        """The guesses of blanks, from the `whole` line or from the words before alone."""
        cut = [each.ids if whole else each.ids[: each.place + 1] for each in blanks]
        found = self.log_probs(cut, [each.place for each in blanks])
        right = np.array([each.ids[each.place] for each in blanks])
        return Guesses(found.argmax(axis=-1), found[np.arange(len(right)), right])


_ROWS, _ROUND = 64, 16  # texts of a batch; their lengths are padded to multiples


@functools.cache
def _log_probs(networks: tuple[nn.Module, ...]) -> Callable[..., Float[Array, "B V"]]:
    def log_probs(params, batch):
        ids, at = batch["ids"], batch["at"]

        def of_one(network, params):
            states = network.apply(params, ids, ids != PAD).states
            chosen = jnp.take_along_axis(states, at[:, None, None], axis=1)[:, 0]
            logits = network.apply(params, chosen, method="word_logits")
            return jax.nn.log_softmax(logits.astype(jnp.float32))

        each = jnp.stack([of_one(*pair) for pair in zip(networks, params, strict=True)])
        return jax.nn.logsumexp(each, axis=0) - jnp.log(len(networks))

    return over_cores(log_probs)


def write_blanks(
    path: Path, blanks: Sequence[Blank], guesses: Sequence[Guesses], surface: Callable[[int], str]
) -> None:
    """Writes blanks with the guesses from both sides, and from the words before."""
    lines = [_HEADER]
    for number, (line, ids, place) in enumerate(blanks):
        columns = [str(line), str(place), surface(int(ids[place]))]
        for each in guesses:
            columns += [surface(int(each.ids[number])), f"{each.log_probs[number]:.4f}"]
        lines.append("\t".join(columns))
    write_whole(path, "\n".join([*lines, ""]).encode())


def score_blanks(path: Path) -> tuple[dict[str, float], str]:
    """Accuracies and losses in nats of a file of blanks, and its SHA-256."""
    header, *lines = read_lines(kept_file(path))
    if header != _HEADER or not lines:
        raise ValueError(f"{path} is no file of blanks")
    rows = [line.split("\t") for line in lines]
    if any(len(row) != 7 for row in rows):
        raise ValueError(f"{path}: a line has 7 columns")
    scores: dict[str, Any] = {"blanks": len(rows)}
    for column, side in enumerate(SIDES):
        right = [row[2] == row[3 + 2 * column] for row in rows]
        loss = -sum(float(row[4 + 2 * column]) for row in rows) / len(rows)
        scores[f"{side}_accuracy"] = round(sum(right) / len(rows), 6)
        scores[f"{side}_loss"] = round(loss, 6)
    return scores, hashlib.sha256(path.read_bytes()).hexdigest()
