"""The protocol of a task: data, loss and metrics, of which the harness knows nothing else."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from flax import linen as nn

from attn_research.training.step import Sums
from attn_research.types import Array, Key, PyTree
from attn_research.viewing.views import Picture, View, spectrogram

# From the rows of a whole batch to those that this process reads.
Rows = Callable[[int], slice]


class AttentionMap(NamedTuple):
    """Attention weights of one example, with a label for each row and column.

    With `pixels` [H, W, C] the map is a grid of patches that lies over them. With `features`
    [F, M] of a sound of some `seconds` its columns are equal steps of that time.
    """

    weights: np.ndarray
    rows: Sequence[str]
    columns: Sequence[str]
    pixels: np.ndarray | None = None
    features: np.ndarray | None = None
    seconds: float = 0.0


class Response(NamedTuple):
    """A model's output for one input, with its scores, its attention maps and remarks."""

    input: str
    output: str
    scores: dict[str, float]
    maps: dict[str, AttentionMap]
    notes: Sequence[str] = ()


def head_maps(
    weights: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    numbers: tuple[Sequence[int], Sequence[int]] | None = None,
) -> dict[str, AttentionMap]:
    """The maps of one example's heads, of weights [L, N, T, S], by layer and head.

    `numbers` are those of the layers and of the heads, counted from 0; all of them where None.
    """
    layers, heads = numbers or map(range, weights.shape[:2])
    return {
        f"layer {layer + 1}, head {head + 1}": AttentionMap(weights[i, j], rows, columns)
        for i, layer in enumerate(layers)
        for j, head in enumerate(heads)
    }


class Looked(NamedTuple):
    """The response to one input, and all attention of it, by layer and head."""

    response: Response
    views: Sequence[View]


def look(
    task: "Task", network: nn.Module, params: PyTree, inputs: Iterable[Any]
) -> Iterator[Looked]:
    """All attention of one network for each input.

    That is what the method `look` of a task gives, where it has one, else the maps of `respond`.
    """
    if hasattr(task, "look"):
        yield from task.look(network, params, inputs)
        return
    for response in task.respond([network], [params], inputs):
        yield Looked(response, views_of_maps(response.maps))


def views_of_maps(maps: Mapping[str, AttentionMap]) -> list[View]:
    """The maps called "layer 1, head 2" as one view for all layers and heads, each other as one.

    Those over pixels, such as one for each word, are the rows of one view too.
    """
    heads, over_pixels, views = {}, {}, []
    for name, each in maps.items():
        if found := re.fullmatch(r"layer (\d+), head (\d+)", name):
            heads[int(found[1]) - 1, int(found[2]) - 1] = each
        elif each.pixels is not None:
            over_pixels[name] = each
        else:
            picture = _spectrogram(each)
            weights = each.weights[None, None]
            views.append(View(name, weights, each.rows, each.columns, picture=picture))
    if over_pixels:
        views.append(_over_pixels(over_pixels))
    if heads:
        layers, numbers = ([*dict.fromkeys(each)] for each in zip(*heads, strict=True))
        weights = np.stack([[heads[i, j].weights for j in numbers] for i in layers])
        first = next(iter(heads.values()))
        rows, columns = list(first.rows), list(first.columns)
        same = rows == columns
        name = "self-attention" if same else "cross-attention"
        options = {"same": same, "layers": layers, "heads": numbers}
        options["picture"] = _spectrogram(first)
        views.append(View(name, weights, rows, columns, **options))
    return views


def _over_pixels(maps: Mapping[str, AttentionMap]) -> View:
    """Maps over the same pixels as rows, whose columns are the patches."""
    first = next(iter(maps.values()))
    rows, columns = first.weights.shape
    cells = [f"{row + 1}, {column + 1}" for row, column in np.ndindex(rows, columns)]
    weights = np.stack([each.weights.ravel() for each in maps.values()])[None, None]
    picture = Picture(first.pixels, (rows, columns))
    return View("attention to pixels", weights, [*maps], cells, picture=picture)


def _spectrogram(each: AttentionMap) -> Picture | None:
    """The sound behind the columns of a map, if there is one."""
    if each.features is None:
        return None
    return spectrogram(np.asarray(each.features, np.float32).T, each.weights.shape[-1])


def kept_file(path: Path) -> Path:
    """The path of a file of predictions; ValueError where it was not kept."""
    if not path.is_file():
        raise ValueError(f"{path} is missing: the predictions of this row were not kept")
    return path


class Evaluator(NamedTuple):
    """A measurement on the development set every so many steps: numbers by name."""

    every: int
    measure: Callable[[nn.Module, PyTree], dict[str, float]]


def contents(task: "Task") -> dict[str, Any]:
    """What a loaded task read: digests, sizes and names, without which its run does not go on.

    Its attribute `contents` where it has one, else `about`. Another number of devices, or another
    length of training, changes nothing of it.
    """
    return task.contents if hasattr(task, "contents") else task.about


def check_task(task: "Task", network: nn.Module, params: PyTree) -> None:
    """An error for what is wrong with a task's config, before its data is loaded.

    That is what its methods `check()` and `check_network(network, params)` find, where it has them;
    the second is given shapes of parameters, to trace what predictions need.
    """
    getattr(task, "check", lambda: None)()
    getattr(task, "check_network", lambda *_: None)(network, params)


class Task(Protocol):
    """Data, loss and metrics.

    A task is made from a config, without reading anything: shapes and the loss are known. `load`
    gives the task with its data; `restore` gives it with what a run folder kept, enough to
    `respond`.
    """

    inputs: str  # the flag of experiments.predict that gives this task an input
    example: str  # flags of experiments.predict worth trying
    about: dict[str, Any]  # hashes and sizes of the data, for the result file
    # A task may also have `contents`, `check`, `check_network` and `look`: see the functions above.
    steps_per_epoch: float

    def load(self) -> "Task":
        """The task with its data."""
        ...

    def save(self, folder: Path) -> None:
        """Writes what `restore` reads."""
        ...

    def restore(self, folder: Path) -> "Task":
        """The task as a run folder kept it."""
        ...

    def batch_spec(self) -> PyTree:
        """Shapes of the largest batch, from the config alone."""
        ...

    def init_inputs(self) -> tuple:
        """Arguments of `network.init` after the key."""
        ...

    def train_batches(self, start: int, rows: Rows) -> Iterator[PyTree]:
        """Training batches from a step on, some rows of each: a pure function of (seed, step)."""
        ...

    def eval_batches(self, split: str) -> Iterator[PyTree]:
        """Every example of "dev" once, or a sample of "train"."""
        ...

    def loss(
        self, network: nn.Module, params: PyTree, batch: PyTree, key: Key[Array, ""], *, train: bool
    ) -> Sums:
        """Total and weight of the loss over a batch, never a mean, with counts to report."""
        ...

    def summarize(self, sums: Sums) -> dict[str, float]:
        """The numbers of a split by name, "loss" among them, from the sums over its batches."""
        ...

    def evaluators(self) -> Sequence[Evaluator]:
        """Measurements while training, besides the loss on the development set."""
        ...

    def predict(
        self, networks: Sequence[nn.Module], params: Sequence[PyTree], folder: Path
    ) -> None:
        """Predictions on the test sets, written to a folder; several networks are an ensemble."""
        ...

    def score(self, folder: Path) -> dict[str, Any]:
        """The scores of a run, computed from the predictions in a folder alone."""
        ...

    def respond(
        self, networks: Sequence[nn.Module], params: Sequence[PyTree], inputs: Iterable[Any]
    ) -> Iterator[Response]:
        """Outputs and attention maps for inputs of the user's own."""
        ...
