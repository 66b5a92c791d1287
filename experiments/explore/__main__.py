"""A page of what a model attends to: one HTML file, to be opened in a browser.

python -m experiments.explore --run=FOLDER --text="the mouse crossed the path ."
python -m experiments.explore --run=FOLDER --image=digit.png
python -m experiments.explore --run=FOLDER --image=a.png --question="what color is the circle ?"
python -m experiments.explore --checkpoint=FOLDER --text="..."     a published BERT, GPT, Marian ...
python -m experiments.explore --checkpoint=FOLDER --image=a.jpg    or ViT
python -m experiments.explore --predictions=FOLDER                 what a translator's run kept
python -m experiments.explore --arrays=FILE.npz                    weights of any library

FILE.npz holds `weights` [layers, heads, rows, columns] and the labels `rows` and `columns`, as
arrays of strings; without columns they are the rows. With `image` [height, width, 3] of bytes the
last columns are its patches, `grid` down and across; with `sound` [mels, frames] columns are frames
of a spectrogram. `--compare` names a second run, checkpoint, folder of predictions or file, which
is shown beside the first with the difference of the two.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags

from attn_research.data.files import shorten, user_path, write_whole
from attn_research.viewing.page import make_page
from experiments.explore.sources import (
    Given,
    look_at,
    look_at_arrays,
    look_at_checkpoint,
    look_at_predictions,
    look_at_run,
)
from experiments.harness.flags import one_line_errors, parse_flags
from experiments.harness.machine import cache_programs
from experiments.harness.path_flags import define_path
from experiments.harness.task import Looked

SOURCES: dict[str, Callable[[str, Given | None], Looked]] = {
    "run": look_at_run,
    "checkpoint": look_at_checkpoint,
    "predictions": lambda path, _: look_at_predictions(user_path(path)),
    "arrays": lambda path, _: look_at_arrays(user_path(path)),
}
INPUTS = "text", "image", "audio"


def _only(names: Sequence[str], hint: str) -> str | None:
    """The one of some flags that is given, or None; ValueError where several are."""
    given = [name for name in names if flags.FLAGS[name].value]
    if len(given) > 1:
        raise ValueError(f"--{given[0]} and --{given[1]}: give {hint}")
    return given[0] if given else None


def _write(argv: Sequence[str]) -> None:
    values = flags.FLAGS
    with one_line_errors(argv):
        source = _only(list(SOURCES), "one of them, and the other as --compare")
        if source is None:
            raise ValueError("give --run, --checkpoint, --predictions or --arrays")
        kind = _only(INPUTS, "one input")
        given = None if kind is None else Given(kind, values[kind].value)
        if values.question:
            if kind != "image":
                raise ValueError("--question is about an image: give --image too")
            given = Given("image and question", (values.question, values.image.split(",")))
        if given and source in ("predictions", "arrays") and not values.compare:
            raise ValueError(f"--{kind} has no effect: --{source} holds its own")
        if not values.output.endswith(".html"):
            raise ValueError(f"--output={values.output}: give the name of an .html file")
        cache_programs()
        path = values[source].value
        found = {_name(path): SOURCES[source](path, given)}
        if values.layer is not None or values.head is not None:
            found = {name: _begin(each, values.layer, values.head) for name, each in found.items()}
        if values.compare:
            other = look_at(values.compare, given)
            name = _name(values.compare)
            found[f"{name} (2)" if name in found else name] = other
        page = _page(found, kind, int(values.megabytes * 1e6))
        write_whole(user_path(values.output), page.encode())
    print(f"{values.output}: {len(page) / 1e6:.1f} MB, open it in a browser")


def _name(path: str) -> str:
    """A short name of what is looked at: the folders of a run tell it from others."""
    return "/".join(Path(path).resolve().parts[-2:])


def _begin(found: Looked, layer: int | None, head: int | None) -> Looked:
    """What was found, shown from a layer and a head on; ValueError where there are none such."""
    views = []
    for view in found.views:
        start = list(view.start)
        names = (("layer", layer), ("head", head))
        for axis, ((name, given), numbers) in enumerate(zip(names, view.numbers, strict=True)):
            if given is not None and given not in numbers:
                raise ValueError(f"--{name}={given}: {view.name} has {name}s {numbers}")
            if given is not None:
                start[axis] = numbers.index(given)
        views.append(dataclasses.replace(view, start=tuple(start)))
    return found._replace(views=views)


def _page(found: dict[str, Looked], kind: str | None, max_bytes: int) -> str:
    notes = []
    for name, (response, _) in found.items():
        start = f"{name}: " if len(found) > 1 else ""
        output = f"output: {response.output}" if response.output else ""
        scores = ", ".join(f"{key} {value:.4g}" for key, value in response.scores.items())
        if remarks := [each for each in (output, scores, *response.notes) if each]:
            notes.append(start + "; ".join(remarks))
    # Of a file its name: where it lies is nobody's business.
    title = next(iter(found.values())).response.input
    title = title if kind in (None, "text") else Path(title).name
    runs = {name: each.views for name, each in found.items()}
    return make_page(shorten(title, 200), runs, notes=notes, max_bytes=max_bytes)


if __name__ == "__main__":
    define_path("run", "", "Folder of a run.")
    define_path("checkpoint", "", "Folder of a published checkpoint, or a GGUF file.")
    define_path("predictions", "", "Folder of predictions of a translator.")
    define_path("arrays", "", "File .npz of weights and labels.")
    define_path("compare", "", "A second run, checkpoint, folder of predictions or .npz file.")
    flags.DEFINE_string("text", "", "Text to give to the model.")
    define_path("image", "", "Image file to give to the model.")
    flags.DEFINE_string("question", "", "Question about the image, or several with commas.")
    define_path("audio", "", "Sound file to give to the model.")
    define_path("output", "attention.html", "HTML file to write.")
    flags.DEFINE_integer("layer", None, "Layer to begin with, from 1.")
    flags.DEFINE_integer("head", None, "Head to begin with, from 1.")
    flags.DEFINE_float(
        "megabytes", 4.4, "Size of the weights; the smallest are left out.", lower_bound=0.0
    )
    flags.DEFINE_bool("debug", False, "Show where an error came from.")
    app.run(_write, flags_parser=parse_flags)
