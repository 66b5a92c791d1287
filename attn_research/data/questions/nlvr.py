"""NLVR: sentences that people wrote about three boxes of shapes, true or false (Suhr et al. 2017).

The three boxes are three images, drawn anew from the objects that are listed.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from attn_research.data.download import find_data_file
from attn_research.data.files import read_lines
from attn_research.data.questions.asked import Question, QuestionSet, plain

FILES = ("nlvr/dev.jsonl.gz", "nlvr/hidden.jsonl.gz", "nlvr/test.jsonl.gz")
BOXES = 3  # of an example
_SIDE = 100  # of a box, in the units of its objects
_SHARP = 4  # pixels drawn for one of the picture
_GROUND = (211, 211, 211)
_COLORS = {"#0099ff": (0, 153, 255), "yellow": (255, 255, 0), "black": (0, 0, 0)}


def read_nlvr(data_dir: str | Path | None, split: str, size: int) -> QuestionSet:
    """A split, each box in `size` pixels a side; sentences have the answers true and false.

    The files dev and hidden are train here, but the last tenth of each, which is dev; test is the
    public test file. The authors' own training file is not read, so that accuracies are no match
    for published ones. ValueError where a line is damaged.
    """
    images, questions = [], []
    for name in FILES[2:] if split == "test" else FILES[:2]:
        path = find_data_file(name, data_dir)
        lines = list(enumerate(read_lines(path), 1))
        held_out = len(lines) - len(lines) // 10
        chosen = {"train": lines[:held_out], "dev": lines[held_out:], "test": lines}[split]
        for number, line in chosen:
            try:
                found = json.loads(line)
                boxes = [draw_box(box, size) for box in found["boxes"]]
                text, answer = plain(found["sentence"]), str(bool(found["label"])).lower()
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}, line {number}: no example of NLVR ({error})") from None
            if len(boxes) != BOXES:
                raise ValueError(f"{path}, line {number}: {len(boxes)} boxes and not {BOXES}")
            numbers = tuple(range(len(images), len(images) + BOXES))
            images += boxes
            questions.append(Question(numbers, text, answer, "sentence"))
    if not questions:
        raise ValueError(f"{path.parent} has too few lines for examples of {split}: replace it")
    return QuestionSet(np.stack(images), np.zeros((0, size, size), bool), tuple(questions))


def draw_box(objects: list[list[Any]], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """A box of objects [x, y, side, kind, color], x and y from 0 to 100 from its upper left."""
    scale = size * _SHARP / _SIDE
    canvas = Image.new("RGB", (size * _SHARP,) * 2, _GROUND)
    pen = ImageDraw.Draw(canvas)
    for x, y, side, kind, color in objects:
        left, top, right, bottom = (scale * edge for edge in (x, y, x + side, y + side))
        fill = _COLORS[color.lower()]
        if kind == "circle":
            pen.ellipse((left, top, right, bottom), fill=fill)
        elif kind == "square":
            pen.rectangle((left, top, right, bottom), fill=fill)
        elif kind == "triangle":
            pen.polygon([(left, bottom), ((left + right) / 2, top), (right, bottom)], fill=fill)
        else:
            raise ValueError(f"an object of the kind {kind!r}")
    return np.asarray(canvas.resize((size, size), Image.Resampling.BOX))
