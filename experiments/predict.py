"""Outputs of a trained model, or of a published one, for inputs of one's own.

python -m experiments.predict --run=FOLDER --text="the cat sleeps ." --attention=map.png
python -m experiments.predict --run=FOLDER --file=lines.txt      one output for each line
python -m experiments.predict --run=FOLDER --image=a.png,b.png   images
python -m experiments.predict --run=FOLDER --audio=a.wav,b.wav   sounds
python -m experiments.predict --run=FOLDER --image=a.png --question="what color is the circle ?"
some command | python -m experiments.predict --run=FOLDER        standard input, a line at a time

FOLDER is that of a finished or interrupted run, runs/PAPER/DATA-SCALE/ROW.seedN.

python -m experiments.predict --checkpoint=FOLDER --text="Paris is the [MASK] of France."
python -m experiments.predict --checkpoint=FOLDER --do=embed --file=sentences.txt
python -m experiments.predict --checkpoint=FOLDER --text="Once upon a time" --temperature=0.8
python -m experiments.predict --checkpoint=FOLDER --file=sentences.txt --beam_size=6   translates
python -m experiments.predict --checkpoint=FOLDER --audio=a.wav --attention=map.png    transcribes

FOLDER is that of a published checkpoint, with config.json, weights and tokenizer, or a GGUF file.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from attn_research.data.files import decode_lines, read_lines, user_path
from attn_research.viewing import plots
from attn_research.viewing.attention_maps import Panel, attention_figure
from attn_research.viewing.image_maps import ImageMaps, image_figure
from attn_research.viewing.sound_maps import SoundMap, sound_figure
from experiments.harness.flags import one_line_errors, parse_flags
from experiments.harness.path_flags import define_path
from experiments.harness.run_folder import load_run
from experiments.harness.task import AttentionMap, Response
from experiments.papers import find
from experiments.published.commands import (
    CONTINUATION,
    OF_SOUNDS,
    define_published,
    respond_published,
    some_maps,
)

FILES = {"image": "images", "audio": "sounds"}  # inputs that are files, by their flags
QUESTION = "image and question"


def read_inputs(kind: str) -> Iterator[Any]:
    """The inputs that the flags name, or the lines of standard input; ValueError for another kind.

    `kind` is what the task of the run reads: text, image, audio, or image and question, which is
    one question about all images.
    """
    values = flags.FLAGS
    given = [name for name in ("text", "file", *FILES, "question") if values[name].present]
    if kind == QUESTION:
        if sorted(given) != ["image", "question"]:
            raise ValueError(
                "this run's model answers a question about images: give --image=FILE, or several "
                'with commas, and --question="..."'
            )
        return iter([(values.question, values.image.split(","))])
    if len(given) > 1:
        raise ValueError(f"--{given[0]} and --{given[1]}: give one of them")
    name = given[0] if given else None
    if name == "question":
        raise ValueError(f"--question: this run's model reads {kind} alone")
    if name is not None and name != kind and (name in FILES or kind in FILES):
        right = f"--{kind}=FILE" if kind in FILES else '--text="...", --file or standard input'
        raise ValueError(f"--{name}: this run's model reads {kind}; give {right}")
    if name == "text":
        return iter([values.text])
    if name in FILES:
        return iter(values[name].value.split(","))
    if name == "file":
        try:
            return iter(list(read_lines(values.file)))
        except (OSError, ValueError) as error:
            raise ValueError(f"--file={values.file}: cannot be read as text ({error})") from None
    if kind in FILES:
        raise ValueError(f"this run's model reads {FILES[kind]}: give --{kind}=FILE")
    if sys.stdin.isatty():
        print("A line at a time; end with Ctrl-D.", file=sys.stderr)
    return decode_lines(sys.stdin.buffer, "standard input")


def draw(responses: Sequence[Response], path: Path) -> None:
    """Draws the attention maps of responses; ValueError where there are none."""
    over_pixels, sounds, panels = [], [], []
    for response in responses:
        grids = {name: each for name, each in response.maps.items() if each.pixels is not None}
        if grids:
            pixels = next(iter(grids.values())).pixels
            weights = {name: each.weights for name, each in grids.items()}
            over_pixels.append(ImageMaps(pixels, weights, response.output))
        sounds += [
            SoundMap(each.features, each.weights, each.rows, each.seconds, name)
            for name, each in response.maps.items()
            if each.features is not None
        ]
        panels += [
            Panel(each.weights, each.columns, each.rows, title=name)
            for name, each in response.maps.items()
            if each.pixels is None and each.features is None
        ]
    if over_pixels:
        figure = image_figure(over_pixels)
    elif sounds:
        figure = sound_figure(sounds)
    elif panels:
        figure = attention_figure(panels)
    else:
        raise ValueError(f"--attention={path}: this model has no attention to draw")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        plots.save(figure, path)
    except (OSError, ValueError) as error:
        raise ValueError(f"--attention={path}: cannot be written ({error})") from None


def _as_json(response: Response) -> str:
    def plain(each: AttentionMap) -> dict:
        return {
            "rows": list(each.rows),
            "columns": list(each.columns),
            "weights": each.weights.round(4).tolist(),
        }

    maps = {name: plain(each) for name, each in response.maps.items()}
    found = {**response._asdict(), "maps": maps, "notes": list(response.notes)}
    return json.dumps(found, ensure_ascii=False)


def _readable(response: Response) -> str:
    scores = ", ".join(f"{name} {value:.4g}" for name, value in response.scores.items())
    remarks = [f"  ({each})" for each in (scores, *response.notes) if each]
    # What was streamed ends its line here.
    return "\n".join([response.output, *remarks])


def _responses() -> Iterator[Response]:
    """The responses of the run, or the published checkpoint, that the flags name."""
    values = flags.FLAGS
    if values.checkpoint and values.run:
        raise ValueError("--run and --checkpoint: give one of them")
    if not values.attention and (given := [x for x in ("layers", "heads") if values[x].present]):
        raise ValueError(f"--{given[0]} is of --attention=FILE, a picture: give both, or neither")
    if values.checkpoint:
        return respond_published(read_inputs, maps=bool(values.attention))
    if not values.run:
        raise ValueError(
            "--run=FOLDER is missing: the folder of a run, as in "
            "runs/bahdanau2014/grammar-tiny/RNNsearch-50.seed0, or --checkpoint=FOLDER"
        )
    if given := [name for name in ("do", *CONTINUATION, *OF_SOUNDS) if values[name].present]:
        raise ValueError(f"--{given[0]} is for --checkpoint: a run has its own config")
    run = load_run(user_path(values.run), find)
    return run.task.respond([run.network], [run.params], read_inputs(run.task.inputs))


def _main(argv: Sequence[str]) -> None:
    with one_line_errors(argv):
        try:
            _respond()
        except KeyboardInterrupt:
            sys.exit(130)
        except BrokenPipeError:  # a reader such as `head` has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + signal.SIGPIPE)


def _respond() -> None:
    """Prints the responses to the inputs that the flags name, and draws their maps."""
    values = flags.FLAGS
    kept = []
    for response in _responses():
        print(_as_json(response) if values.json else _readable(response), flush=True)
        if values.attention:
            kept.append(some_maps(response, values.layers, values.heads))
    if values.attention:
        draw(kept, user_path(values.attention))
        print(f"attention: {values.attention}", file=sys.stderr)


if __name__ == "__main__":
    define_path("run", "", "Folder of a run.")
    define_published()
    flags.DEFINE_string("text", "", "Text to give to the model.")
    define_path("file", "", "Text file, an input on each line.")
    define_path("image", "", "Image file, or several with commas.")
    define_path("audio", "", "Sound file, or several with commas.")
    flags.DEFINE_string("question", "", "Question about the images of --image, taken together.")
    define_path("attention", "", "Picture file for the attention maps of the inputs.")
    flags.DEFINE_bool("json", False, "Print outputs, scores and maps as JSON, one line each.")
    flags.DEFINE_bool("debug", False, "Show where an error came from.")
    app.run(_main, flags_parser=parse_flags)
