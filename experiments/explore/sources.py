"""Attention from runs, published checkpoints, kept predictions and files of arrays."""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from attn_research.data.files import read_json_object, read_npz, user_path
from attn_research.data.grammar.grammar import Grammar
from attn_research.data.text.tokenizers import SPECIALS, UNK
from attn_research.viewing.page import make_view
from attn_research.viewing.views import Mark, View, pair_views
from experiments.harness.continuation import ABOUT
from experiments.harness.run_folder import load_run
from experiments.harness.task import Looked, Response, look
from experiments.papers import find
from experiments.published.looking import look_at_image, look_at_sound, look_at_text
from experiments.tasks.translation import pronouns
from experiments.tasks.translation.data import corpora

MAPS, ALIGNMENTS = "maps.json", "alignments.json"


class Given(NamedTuple):
    """An input of one's own: its kind, as the tasks name it, and itself.

    The kinds text, image and audio are strings, an image and question is the question and the
    names of its images.
    """

    kind: str
    value: Any


def look_at(path: str, given: Given | None) -> Looked:
    """The attention in whatever a path is of.

    A file of arrays and a folder of predictions need no input. ValueError where there is nothing
    to look at.
    """
    place = user_path(path)
    if place.suffix == ".npz":
        return look_at_arrays(place)
    if any((place / name).is_file() for name in (MAPS, ALIGNMENTS)):
        return look_at_predictions(place)
    return (look_at_run if (place / ABOUT).is_file() else look_at_checkpoint)(path, given)


def look_at_run(path: str, given: Given | None) -> Looked:
    """The attention of a run to an input."""
    run = load_run(user_path(path), find, flag="--run")
    (found,) = look(run.task, run.network, run.params, [_of_kind(given, run.task.inputs)])
    if not found.views:
        raise ValueError(f"--run={path}: this model has no attention to show for this input")
    return found


def look_at_checkpoint(path: str, given: Given | None) -> Looked:
    """The attention of a published checkpoint to an input."""
    if given is not None and given.kind == "image":
        return look_at_image(path, given.value)
    if given is not None and given.kind == "audio":
        return look_at_sound(path, given.value)
    return look_at_text(path, _of_kind(given, "text"))


def _of_kind(given: Given | None, kind: str) -> Any:
    if given is None:
        raise ValueError(f"an input is missing: this model reads {kind}, give {_flags(kind)}")
    if given.kind != kind:
        raise ValueError(f"{_flags(given.kind)}: this model reads {kind}, give {_flags(kind)}")
    return given.value


def _flags(kind: str) -> str:
    """The flags of a kind of input."""
    return " and ".join(f"--{each}" for each in kind.split(" and "))


def look_at_arrays(path: Path) -> Looked:
    """What a file of arrays holds; ValueError where that is not what `make_view` takes."""
    arrays = read_npz(path, str(path))
    known = ("weights", "rows", "columns", "image", "grid", "sound", "name")
    if unknown := sorted(arrays.keys() - set(known)):
        raise ValueError(f"{path}: array {unknown[0]!r}; known are {', '.join(known)}")
    for name in ("weights", "rows"):
        if name not in arrays:
            raise ValueError(f"{path} has no array {name!r}: give weights, rows, columns")
    labels = {name: arrays[name] for name in ("rows", "columns") if name in arrays}
    for name, each in labels.items():
        if each.ndim != 1:
            raise ValueError(f"{path}: {name} {each.shape} are no list of labels")
        labels[name] = each.astype(str).tolist()
    options = {name: arrays[name] for name in ("image", "grid", "sound") if name in arrays}
    try:
        title = str(arrays.get("name", "attention"))
        view = make_view(title, arrays["weights"], labels["rows"], labels.get("columns"), **options)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return Looked(Response(path.name, "", {}, {}), [view])


def look_at_predictions(folder: Path) -> Looked:
    """The weights that a task of translation keeps beside its predictions, to three decimals."""
    views, text = [], []
    if (folder / MAPS).is_file():
        maps = read_json_object(folder / MAPS)
        words = tuple(maps.pop("words"))
        text = [" ".join(side) for side in words]
        weights = {name: np.float32(each) for name, each in maps.items()}
        marked = _places(folder, words)
        for name, view in pair_views(words, weights).items():
            views.append(_with_marks(view, *marked[name]) if marked else view)
    if (folder / ALIGNMENTS).is_file():
        for number, panel in enumerate(json.loads((folder / ALIGNMENTS).read_bytes()), 1):
            weights = np.float32(panel["weights"])[None, None]
            source, target = panel["words"]
            text = text or [" ".join(source), " ".join(target)]
            views.append(View(f"alignment {number}", weights, target, source))
    if not views:
        raise ValueError(f"{folder}: no sentence was kept")
    return Looked(Response(*text, {}, {}), views)


def _places(folder: Path, words: tuple[list[str], list[str]]) -> pronouns.Places | None:
    """Where the first pronoun of a pair and its antecedent are, if it is of the built-in corpus."""
    path = folder.with_name(f"{folder.name}.json")
    if not path.is_file():
        return None
    result = read_json_object(path)
    config = find(result["experiment"]).config.replace(**result["config"])
    if not pronouns.has_pronouns(config.task.text):
        return None
    (corpus,) = corpora(config.task.text)
    assert isinstance(corpus, Grammar)
    for index, pair in enumerate(corpus.split("test")):
        same = all(map(_same, (pair.source, pair.target), words))
        if same and (found := corpus.pronouns("test", index)):
            return pronouns.places(pair, found[0])
    return None


def _same(text: str, words: list[str]) -> bool:
    """Whether a text has these words; an unknown one may be any."""
    found = text.split()
    return len(found) == len(words) and all(
        other in (word, SPECIALS[UNK]) for word, other in zip(found, words, strict=True)
    )


def _with_marks(view: View, row: int, nouns: list[list[int]]) -> View:
    """The view with the antecedent of a pronoun and the other noun marked.

    It begins with the head that attends to the antecedent most.
    """
    names = "antecedent", "other noun"
    marks = [
        Mark(row, column, name) for name, some in zip(names, nouns, strict=True) for column in some
    ]
    weights = view.weights[:, :, row, nouns[0]].sum(axis=-1)
    layer, head = np.unravel_index(weights.argmax(), weights.shape)
    return dataclasses.replace(view, marks=marks, start=(int(layer), int(head), row))
