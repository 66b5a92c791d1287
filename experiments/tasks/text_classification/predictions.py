"""Predictions: those of the test set, kept as a label a line, and the response to a line."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attn_research.data.files import write_whole
from attn_research.data.text.examples import (
    EncodedExamples,
    Frame,
    encode_examples,
    pieces_of_words,
    truncate,
)
from attn_research.data.text.labelled import Example
from attn_research.data.text.tokenizers import UNK, Tokenizer, unknown_words
from attn_research.evaluation.spans import OUTSIDE
from experiments.harness.config import Config
from experiments.harness.task import AttentionMap, Response, head_maps
from experiments.tasks.text_classification.batches import eval_batches
from experiments.tasks.text_classification.data import (
    Data,
    examples,
    labels_of,
    make_frame,
    num_texts,
)
from experiments.tasks.text_classification.inference import Members
from experiments.tasks.text_classification.scores import ATTENDED, PREDICTIONS

ATTENTION = "attention.json"
KEPT = 12  # examples of which attention is kept
BEGIN, END = "<begin>", "<end>"


def predict(config: Config, data: Data, members: Members, folder: Path) -> None:
    """Writes the predicted labels of the test set, and where rows of attention attend."""
    gold, lines = examples(config.task.text, "test"), [""] * len(data.test)
    for indices, batch in eval_batches(config, data.test, _frame(config, data.tokenizer)):
        outputs = members.outputs(batch)
        for row, index in enumerate(indices):
            output = _of_words(outputs[row], batch["label"][row])
            lines[index] = _label(output, data.classes, members.labels, gold[index])
    write_whole(folder / PREDICTIONS, "".join(f"{line}\n" for line in lines).encode())
    if config.task.text.data == "grammar":  # where the word that decides is known
        attended = _rows_of_attention(config, data, members, range(len(lines)))
        if attended:
            most = [attended[index].argmax(axis=-1).tolist() for index in range(len(lines))]
            write_whole(folder / ATTENDED, json.dumps(most).encode())
    # The first of 8 to 20 words, none picked by hand.
    fitting = [i for i in range(len(lines)) if 8 <= len(data.test[i].ids) <= 20][:KEPT]
    kept = [
        {
            "words": words_of(config, data.tokenizer, gold[index]),
            "label": gold[index].label,
            "found": lines[index],
            "weights": weights.round(3).tolist(),
        }
        for index, weights in _rows_of_attention(config, data, members, fitting).items()
    ]
    if kept:
        write_whole(folder / ATTENTION, json.dumps(kept, ensure_ascii=False).encode())


def _rows_of_attention(
    config: Config, data: Data, members: Members, chosen: Sequence[int]
) -> dict[int, np.ndarray]:
    """The weights [rows, S] of some test examples; empty where a network has no such rows."""
    found, frame = {}, _frame(config, data.tokenizer)
    for indices, batch in eval_batches(
        config, EncodedExamples([data.test[i] for i in chosen]), frame
    ):
        weights = members.weights(batch)
        if weights is None or weights.ndim != 3:
            return {}
        for row, index in enumerate(indices):
            number = chosen[int(index)]
            found[number] = weights[row, :, : len(data.test[number].ids) + 1]
    return dict(sorted(found.items()))


def _frame(config: Config, tokenizer: Tokenizer) -> Frame:
    return make_frame(config.task.text, tokenizer)


def _of_words(output: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Of the outputs of the ids of a text, those where words begin; others as they are."""
    return output if label.ndim == 0 else output[label >= 0]


def _label(output: np.ndarray, classes: Sequence[str], labels: str, gold: Example) -> str:
    if labels == "numbers":
        return f"{output[0]:.6g}"
    if labels == "classes":
        return classes[int(output.argmax())]
    words = len(gold.texts[0].split())
    found = [classes[int(i)] for i in output.argmax(axis=-1)]
    return " ".join(found + [OUTSIDE] * (words - len(found)))  # words that were not read


def words_of(config: Config, tokenizer: Tokenizer, example: Example) -> list[str]:
    """The word, or piece, of each id that is read of an example, but the last EOS."""
    words = [BEGIN] * config.task.text.class_token
    read = [tokenizer.words(x) for x in example.texts]
    if labels_of(config.task.text) == "tags":
        pieces = pieces_of_words(example.texts[0], tokenizer)
        read = [[piece for word in pieces for piece in word]]
    for given in truncate(read, config.task.text.max_words):
        ids = tokenizer.encode_words(given)
        words += given if len(given) == len(ids) else [tokenizer.decode([i]) for i in ids]
        words.append(END)
    return words[:-1]


def attention_maps(weights: np.ndarray, words: Sequence[str]) -> dict[str, AttentionMap]:
    """Maps over the words of rows of attention [rows, S], or of layers and heads [L, N, S, S]."""
    size = len(words)
    if weights.ndim == 2:
        rows = [f"row {number + 1}" for number in range(len(weights))]
        return {"attention": AttentionMap(weights[:, :size], rows, words)}
    return head_maps(weights[..., :size, :size], words, words)


def respond(
    config: Config, text: tuple[Tokenizer, Sequence[str]], members: Members, line: str
) -> Response:
    """The label of a line, its probabilities, and the attention over its words."""
    (tokenizer, classes), part, labels = text, config.task.text, members.labels
    texts = tuple(" ".join(each.split()) for each in line.split("\t"))
    if len(texts) != num_texts(part):
        wanted = "one text" if num_texts(part) == 1 else "two texts with a tab between"
        raise ValueError(f"this run's model reads {wanted}; got {len(texts)} in {line[:40]!r}")
    if not all(texts):
        return Response(line, "", {}, {}, ["an empty text has no label"])
    if part.lowercase:
        texts = tuple(each.lower() for each in texts)
    example = Example(texts, "")
    unlabelled = [0] * len(texts[0].split()) if labels == "tags" else 0
    frame = _frame(config, tokenizer)
    encoded = encode_examples(
        [example], tokenizer, lambda _: unlabelled, max_words=part.max_words, frame=frame
    )
    ((_, batch),) = eval_batches(config, encoded, frame, batch_size=1)
    output = _of_words(members.outputs(batch)[0], batch["label"][0])
    scores = {}
    if labels == "classes":
        scores = {classes[i]: float(output[i]) for i in np.argsort(-output)[:5]}
    words, weights = words_of(config, tokenizer, example), members.weights(batch)
    maps = {} if weights is None else attention_maps(weights[0], [*words, END])
    unknown = getattr(tokenizer, "unknown", UNK)
    notes = unknown_words(zip(words, encoded[0].ids, strict=True), unknown)
    count = sum(len(tokenizer.words(each)) for each in texts)
    if count > part.max_words:
        notes.append(f"{part.max_words} of {count} words are read: see --max_words")
    return Response(line, _label(output, classes, labels, example), scores, maps, notes)
