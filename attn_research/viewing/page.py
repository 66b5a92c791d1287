"""A page of attention: one HTML file with its data, which asks nothing of a network.

Labels reach the page as JSON alone and are shown as text. A policy in the page forbids requests,
and scripts other than the page's own.
"""

import base64
import hashlib
import html
import importlib.resources
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attn_research.viewing.encoding import MAX_BYTES, Heads, Precision, choose_precision, encode
from attn_research.viewing.views import Picture, View, as_weights, spectrogram

_FOLDER = importlib.resources.files("attn_research.viewing") / "page"
_SCRIPTS = (
    "data",
    "color",
    "matrix",
    "lines",
    "pictures",
    "words",
    "grid",
    "details",
    "saving",
    "page",
    "controls",
)


def make_page(
    title: str,
    runs: Mapping[str, Sequence[View]],
    *,
    notes: Sequence[str] = (),
    max_bytes: int = MAX_BYTES,
) -> str:
    """The HTML of the views of one run, or of two that are compared, by their names.

    Views of the same name are compared. ValueError for no view, and for more than two runs.
    """
    if not 1 <= len(runs) <= 2 or not all(runs.values()):
        raise ValueError("there is no attention to show: give views of one run, or of two")
    heads = {name: [Heads(view) for view in each] for name, each in runs.items()}
    precision = choose_precision([each for some in heads.values() for each in some], max_bytes)
    data = {
        "title": title,
        "notes": list(notes),
        "runs": [
            {"name": name, "views": [_encode(each, precision) for each in some]}
            for name, some in heads.items()
        ],
    }
    script = "\n".join(_read(f"{name}.js") for name in _SCRIPTS)
    parts = {"style": palette() + _read("page.css"), "script": script, "data": embedded(data)}
    parts["policy"] = "; ".join(
        [
            "default-src 'none'",
            "img-src data: blob:",
            *(f"{kind}-src '{policy_hash(parts[kind])}'" for kind in ("script", "style")),
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page.html"))


class Shown:
    """A page in a notebook, where it is the value of a cell; `save` writes it to a file."""

    def __init__(self, page: str, height: int):
        self.page, self.height = page, height

    def save(self, path: str | Path) -> None:
        """Writes the page to a file."""
        Path(path).write_text(self.page, "utf-8")

    def _repr_html_(self) -> str:
        """A frame of its own, whose scripts reach nothing outside it."""
        return (
            f'<iframe sandbox="allow-scripts allow-downloads allow-modals" title="Attention" '
            f'style="width: 100%; height: {self.height}px; border: 0" '
            f'srcdoc="{html.escape(self.page)}"></iframe>'
        )


def show(
    weights: Any,
    rows: Sequence[str],
    columns: Sequence[str] | None = None,
    *,
    name: str = "attention",
    image: Any = None,
    sound: Any = None,
    grid: tuple[int, int] | None = None,
    height: int = 720,
) -> Shown:
    """Attention in a notebook, of weights [T, S], [N, T, S] or [L, N, T, S] of any library.

    Without `columns` they are the rows, as in self-attention. Columns may be the patches, `grid`
    down and across, of an `image` [H, W, C] of bytes, after those of tokens such as a class token;
    or the frames of the spectrogram `sound` [mels, frames].
    """
    view = make_view(name, weights, rows, columns, image=image, sound=sound, grid=grid)
    return Shown(make_page(name, {"": [view]}), height)


def make_view(
    name: str,
    weights: Any,
    rows: Sequence[str],
    columns: Sequence[str] | None = None,
    *,
    image: Any = None,
    sound: Any = None,
    grid: tuple[int, int] | None = None,
) -> View:
    """A view of arrays of any library, as `show` takes them."""
    found, same = as_weights(weights), columns is None or list(columns) == list(rows)
    picture = None
    if image is not None and sound is not None:
        raise ValueError("image and sound: give one of them")
    if image is not None:
        picture = _patches(np.asarray(image), grid, found.shape[-1])
    elif sound is not None:
        picture = spectrogram(np.asarray(sound, np.float32), found.shape[-1])
    columns = rows if columns is None else columns
    return View(name, found, rows, columns, same=same, picture=picture)


def _patches(image: np.ndarray, grid: tuple[int, int] | None, columns: int) -> Picture:
    """An image, whose patches are the last columns: a square of them unless a grid is given."""
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or image.dtype != np.uint8:
        raise ValueError(f"an image {image.shape} of {image.dtype}: give bytes [H, W, 1 or 3]")
    side = int(columns**0.5)
    down, across = map(int, (side, side) if grid is None else grid)
    return Picture(image, (down, across), columns - down * across)


def _encode(heads: Heads, precision: Precision) -> dict[str, Any]:
    view, (rows, columns) = heads.view, heads.view.labels
    found = {"name": view.name, "rows": rows, "columns": columns, **encode(heads, precision)}
    found |= {"same": view.same, "marks": view.marks, "start": [int(x) for x in view.start]}
    if view.picture is not None:
        height, width = view.picture.pixels.shape[:2]
        found["picture"] = {
            "png": _png(view.picture.pixels),
            "size": [width, height],
            "grid": view.picture.grid,
            "first": view.picture.first,
        }
    return found


def _png(pixels: np.ndarray) -> str:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def embedded(data: Any) -> str:
    """JSON for a script element, in which nothing can end it."""
    text = json.dumps(data, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def policy_hash(text: str) -> str:
    """The hash by which a content policy allows a script or a style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def palette() -> str:
    """The colors of pages, light and dark, as CSS."""
    return _read("palette.css")


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")
