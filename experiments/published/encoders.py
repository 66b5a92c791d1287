"""Masked words, classes and embeddings of texts, by a published encoder."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from attn_research.layers.contracts import Capture
from experiments.harness.task import Response
from experiments.published.model import Published

BEST = 5  # words that are listed for a mask


def respond(
    model: Published, ability: str, inputs: Iterable[str], *, capture: Capture = None
) -> Iterator[Response]:
    """What an encoder does with each text, with the attention maps that are captured."""
    do = {"fill-mask": _fill_mask, "classify": _classify, "embed": _embed}[ability]
    for text in inputs:
        ids, types = model.encode(text)
        if ability == "fill-mask":
            _check_masks(model, ids, text)
        found = model.read(ids, types, capture=capture)
        drawn = {} if capture is None else model.maps(ids, found.weights, capture)
        yield Response(text, *do(model, ids, found), drawn)


def _check_masks(model, ids, text):
    mask = model.tokenizer.mask
    if mask is None:
        raise ValueError("the tokenizer has no mask, so that nothing can be filled in")
    if mask not in ids:
        name = model.tokenizer.tokenizer.id_to_token(mask)
        raise ValueError(f"no {name} in {text[:40]!r}: put it where a word is to be filled in")


def _fill_mask(model: Published, ids: list[int], found: Any) -> tuple[str, dict[str, float]]:
    """The text with the most probable word at each mask, and the probabilities of the best."""
    probabilities = _softmax(np.asarray(found.heads["masked_lm"])[0, : len(ids)])
    filled, scores = list(ids), {}
    places = [place for place, each in enumerate(ids) if each == model.tokenizer.mask]
    for number, place in enumerate(places, 1):
        best = np.argsort(-probabilities[place], kind="stable")[:BEST]
        filled[place] = int(best[0])
        start = f"mask {number}: " if len(places) > 1 else ""
        for label, each in zip(model.tokenizer.labels(best.tolist()), best, strict=True):
            scores[start + label] = float(probabilities[place, each])
    return model.tokenizer.decode(filled), scores


def _classify(model: Published, ids: list[int], found: Any) -> tuple[str, dict[str, float]]:
    """The most probable class, and the probability of each; or the class of each token."""
    names = model.config.get("id2label") or {}
    if "token_classifier" in found.heads:
        classes = np.asarray(found.heads["token_classifier"])[0, : len(ids)].argmax(-1)
        pairs = zip(model.tokenizer.labels(ids), classes.tolist(), strict=True)
        return " ".join(f"{token}/{names.get(str(each), each)}" for token, each in pairs), {}
    probabilities = _softmax(np.asarray(found.heads["classifier"])[0])
    labels = [str(names.get(str(number), number)) for number in range(len(probabilities))]
    scores = dict(zip(labels, map(float, probabilities), strict=True))
    return labels[int(probabilities.argmax())], scores


def _embed(model: Published, ids: list[int], found: Any) -> tuple[str, dict[str, float]]:
    """The mean of the states of all tokens, of length 1 (Reimers, Gurevych 2019)."""
    mean = np.asarray(found.states, np.float64)[0, : len(ids)].mean(axis=0)
    return " ".join(f"{value:.6f}" for value in mean / np.linalg.norm(mean)), {}


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)
