"""Kept answers, their scores, and the maps of where they came from.

A line of test.txt is an answer and, of the last word of the question, the cell of the images' grids
that gets the most weight, counted over all images of the question, and the weight inside the region
asked for, "-" where there is none; then both of the head that points best on the development set,
which pointer.json names. A network without images writes the answer alone.
"""

import json
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from attn_research.data.files import write_whole
from attn_research.data.questions.asked import QuestionSet
from attn_research.data.text.tokenizers import WordTokenizer
from attn_research.evaluation.pointing import Pointing, center_weights, pointing, uniform_weights
from attn_research.viewing import plots
from attn_research.viewing.image_maps import ImageMaps, image_figure
from experiments.harness.task import AttentionMap, Response, kept_file
from experiments.tasks.visual_questions.config import VisualQuestionsConfig
from experiments.tasks.visual_questions.inference import LAST, WORDS, Answers

FILE, POINTER, PICTURE = "test.txt", "pointer.json", "attention.png"
SHOWN = 4  # questions in the picture


class Pointer(NamedTuple):
    """A head of one of `WORDS`, counted from 1 as its layer is, and its pointing on dev."""

    word: str
    layer: int
    head: int
    dev_argmax: float


class Row(NamedTuple):
    """The distribution of one answer, and the weights of `WORDS` and of each word, if any."""

    probs: Float[np.ndarray, "V"]
    weights: Float[np.ndarray, "W L N I P"] | None
    words: Float[np.ndarray, "T I P"] | None = None

    @property
    def last(self) -> Float[np.ndarray, "L N I P"]:
        """The weights of the last word."""
        return self.weights[WORDS.index(LAST)]

    @property
    def overall(self) -> Float[np.ndarray, "I P"]:
        """The mean of the last word over layers and heads, with the sum 1."""
        return _normalized(self.last.mean(axis=(0, 1)))

    def of_head(self, pointer: Pointer) -> Float[np.ndarray, "I P"]:
        """The weights of one head, with the sum 1."""
        return _normalized(
            self.weights[WORDS.index(pointer.word), pointer.layer - 1, pointer.head - 1]
        )


def _normalized(weights: Float[np.ndarray, "I P"]) -> Float[np.ndarray, "I P"]:
    return weights / max(weights.sum(), np.finfo(weights.dtype).tiny)


def rows(answers: Answers) -> Iterator[Row]:
    """The rows of a batch."""
    if answers.weights is None:
        return map(Row, answers.probs, [None] * len(answers.probs))
    return map(Row, *answers)


def best_pointer(
    config: VisualQuestionsConfig, source: QuestionSet, found: Iterable[tuple[int, Row]]
) -> Pointer | None:
    """The head whose largest weight is most often inside the region that a question asks for.

    None where no question asks for one, and of a network without images.
    """
    if not len(source.regions):
        return None
    hits, asked = 0, 0
    for index, row in found:
        if row.weights is None:
            return None
        gold = gold_cells(config, source, index)
        if gold.any():
            cells = row.weights.reshape(*row.weights.shape[:3], -1).argmax(axis=-1)
            hits, asked = hits + gold[cells], asked + 1
    if not asked:
        return None
    word, layer, head = map(int, np.unravel_index(np.argmax(hits), hits.shape))
    return Pointer(WORDS[word], layer + 1, head + 1, round(float(hits.max() / asked), 6))


def keep(
    config: VisualQuestionsConfig,
    source: QuestionSet,
    tokenizer: WordTokenizer,
    found: Iterable[tuple[int, Row]],
    pointer: Pointer | None,
    folder: Path,
) -> None:
    """Writes the answers to all questions of a set, in order, and a picture of some.

    No two of these are about the same images.
    """
    lines, pictures = [], {}
    for index, row in found:
        word = tokenizer.decode(_likeliest(row, tokenizer)[:1])
        fields = [word]
        if row.weights is not None:
            gold = gold_cells(config, source, index)
            heads = [row.overall] if pointer is None else [row.overall, row.of_head(pointer)]
            for weights in map(np.ravel, heads):
                inside = f"{weights[gold].sum():.4f}" if gold.any() else "-"
                fields += [str(weights.argmax()), inside]
            images = source.questions[index].images
            if len(pictures) < SHOWN and images not in pictures and gold.any():
                pictures[images] = _picture(config, source, index, row, pointer, word)
        lines.append("\t".join(fields) + "\n")
    write_whole(folder / FILE, "".join(lines).encode())
    if pointer is not None:
        write_whole(folder / POINTER, json.dumps(pointer._asdict(), indent=1).encode())
    if pictures:
        plots.save(image_figure(list(pictures.values())), folder / PICTURE)


def gold_cells(
    config: VisualQuestionsConfig, source: QuestionSet, index: int
) -> Bool[np.ndarray, "IP"]:
    """The cells of the region that a question asks for, among those of all images."""
    cells = np.zeros((config.num_images, *config.grid), bool)
    if (region := source.cells(index, config.grid)) is not None:
        cells[source.questions[index].place] = region
    return cells.ravel()


def kept(folder: Path) -> Path:
    """The file of answers."""
    return kept_file(folder / FILE)


def score(config: VisualQuestionsConfig, source: QuestionSet, path: Path) -> dict[str, Any]:
    """The accuracy of kept answers, by kind of question too, and pointing beside its baselines."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    if len(lines) != len(source):
        raise ValueError(f"{path} has {len(lines)} lines for {len(source)} questions")
    by_kind = defaultdict(list)
    for (answer, *_), question in zip(lines, source.questions, strict=True):
        by_kind[question.kind].append(answer == question.answer)
    right = [each for found in by_kind.values() for each in found]
    result = {
        "accuracy": _share(right),
        "questions": len(lines),
        "by_kind": {kind: [_share(found), len(found)] for kind, found in sorted(by_kind.items())},
    }
    if len(lines[0]) > 1 and len(source.regions):
        result["pointing"] = _pointing(config, source, lines, path.with_name(POINTER))
    return result


def _pointing(config, source, lines, pointer: Path) -> dict[str, Any]:
    gold = np.stack([gold_cells(config, source, i) for i in range(len(source))])
    asks = gold.any(axis=1)

    def kept(column: int) -> dict[str, float]:
        cells = np.array([int(line[column]) for line in lines])
        hits = gold[np.arange(len(gold)), cells][asks]
        inside = [float(line[column + 1]) for line, one in zip(lines, asks, strict=True) if one]
        return _rounded(Pointing(float(np.mean(inside)), float(hits.mean()), len(hits)))

    of_head = {}
    if len(lines[0]) > 3:
        of_head = {"best_head": kept(3) | json.loads(kept_file(pointer).read_bytes())}
    # Of the images that a question has.
    there = np.zeros((len(source), config.num_images, 1))
    for index, question in enumerate(source.questions):
        there[index, : len(question.images)] = 1

    def baseline(make) -> Pointing:
        weights = make(len(source), config.grid)[:, None] * there
        return pointing(weights.reshape(gold.shape), gold)

    return {
        **kept(1),
        **of_head,
        "questions": int(asks.sum()),
        "uniform": _rounded(baseline(uniform_weights)),
        "center": _rounded(baseline(center_weights)),
    }


def _rounded(found: Pointing) -> dict[str, float]:
    return {"weight": round(found.weight, 6), "argmax": round(found.argmax, 6)}


def _share(right: Sequence[bool]) -> float:
    return round(sum(right) / len(right), 6)


def respond(
    config: VisualQuestionsConfig,
    tokenizer: WordTokenizer,
    source: QuestionSet,
    row: Row,
    words: Mapping[str, Float[np.ndarray, "I P"]],
    notes: Sequence[str],
) -> Response:
    """The answer to the only question of a set, and where each of its words attends to."""
    order = _likeliest(row, tokenizer)[:3]
    scores = {tokenizer.decode([i]): float(row.probs[i]) for i in order}
    maps, pixels = {}, _side_by_side(source.images)
    for word, weights in words.items():
        grid = _beside(_normalized(weights), len(source.images), config.grid)
        labels = (tuple(map(str, range(size))) for size in grid.shape)
        maps[word] = AttentionMap(grid, *labels, pixels)
    return Response(source.questions[0].text, tokenizer.decode(order[:1]), scores, maps, notes)


def _likeliest(row: Row, tokenizer: WordTokenizer) -> np.ndarray:
    """Ids by their probability; there may be fewer words than logits."""
    return np.argsort(-row.probs[: tokenizer.vocab_size])


def _picture(config, source, index, row, pointer, word) -> ImageMaps:
    question = source.questions[index]
    images = source.images[list(question.images)]
    title = textwrap.fill(f"{question.text} {word}", 22)
    maps = _maps(row, len(images), config.grid)
    if pointer is not None:
        name = f"{pointer.word}, layer {pointer.layer}, head {pointer.head}"
        maps[textwrap.fill(name, 16)] = _beside(row.of_head(pointer), len(images), config.grid)
    return ImageMaps(_side_by_side(images), maps, title)


def _maps(
    row: Row, num_images: int, grid: tuple[int, int]
) -> dict[str, Float[np.ndarray, "rows cols"]]:
    """Maps of the last word over images side by side: their mean, and heads of the last layer."""
    layer = len(row.last)
    heads = {
        f"layer {layer}, head {number}": weights for number, weights in enumerate(row.last[-1], 1)
    }
    found = {"all heads": row.overall} | heads
    return {name: _beside(weights, num_images, grid) for name, weights in found.items()}


def _beside(weights, num_images, grid) -> Float[np.ndarray, "rows cols"]:
    return np.concatenate([one.reshape(grid) for one in weights[:num_images]], axis=1)


def _side_by_side(images: UInt8[np.ndarray, "I H W 3"]) -> UInt8[np.ndarray, "H IW 3"]:
    return np.concatenate(list(images), axis=1)
