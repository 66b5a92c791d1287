"""Pictures in a page: committed figures made small, and drawings in SVG."""

import base64
import html
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.report.collect import Line

_WIDTH, _HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 26, 12, 38
_COLORS = 7  # of curves in page.css, after which dashes change
_DASHES = ("", "6 3", "2 3")


def data_uri(path: Path, most: int = 1100) -> tuple[str, int, int]:
    """A figure as a data URI, at most `most` pixels wide, with its width and height."""
    image = Image.open(path).convert("RGB")
    if image.width > most:
        image = image.resize((most, round(image.height * most / image.width)), Image.LANCZOS)
    content = io.BytesIO()
    image.save(content, "WEBP", quality=50, method=6)
    text = base64.b64encode(content.getvalue()).decode()
    return f"data:image/webp;base64,{text}", *image.size


def draw_mask(allowed: np.ndarray, title: str) -> str:
    """A mask [T, S] as a drawing: a square for each key that a query may attend to."""
    rows, columns = allowed.shape
    marks = []
    for y, row in enumerate(allowed):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        for start, end in edges.reshape(-1, 2):
            marks.append(f"M{start} {y}h{end - start}v1h-{end - start}z")
    return (
        f'<svg class="mask" viewBox="-0.5 -0.5 {columns + 1} {rows + 1}" role="img" '
        f'aria-label="{html.escape(title)}"><rect class="paper" width="{columns}" '
        f'height="{rows}"/><path d="{"".join(marks)}"/></svg>'
    )


def draw_curves(lines: Sequence[Line], title: str) -> str:
    """Learning curves, the development loss by update, with a list of what each line is."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    log = min(ys) > 0 and max(ys) / min(ys) > 20
    low, high = (math.log(min(ys)), math.log(max(ys))) if log else (min(ys), max(ys))
    high = high if high > low else low + 1

    def place(x: float, y: float) -> tuple[float, float]:
        y = math.log(y) if log else y
        across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * x / max(xs)
        return across, _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - y) / (high - low)

    ticks = list(_log_ticks(min(ys), max(ys))) if log else list(_ticks(min(ys), max(ys)))
    parts = []
    for value in ticks:
        _, y = place(0, value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" '
                     f'y2="{y:.1f}"/><text x="{_LEFT - 6}" y="{y + 4:.1f}" '
                     f'text-anchor="end">{value:g}</text>')  # fmt: skip
    for value in _ticks(0, max(xs)):
        x, _ = place(value, ys[0])
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 20}" text-anchor="middle">{value:,g}</text>')
    for number, line in enumerate(lines):
        points = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in line.points)
        end = f"{html.escape(line.label)}: {line.points[-1][1]:.4g} at the end"
        parts.append(f"<polyline {_style(number)} points=\"{points}\"><title>{end}</title>"
                     "</polyline>")  # fmt: skip
        if len(line.points) < 3:
            parts += ['<circle class="dot c{}" cx="{:.1f}" cy="{:.1f}" r="2.5"/>'.format(
                number % _COLORS, *place(x, y)) for x, y in line.points]  # fmt: skip
    axis = f"development loss{', logarithmic' if log else ''}"
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 4}">updates; {axis}</text>')
    keys = "".join(
        f'<li><svg viewBox="0 0 24 8" aria-hidden="true"><line {_style(number)} x1="0" x2="24" '
        f'y1="4" y2="4"/></svg>{html.escape(line.label)}</li>'
        for number, line in enumerate(lines)
    )
    return (
        f'<svg class="curves" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{html.escape(title)}">{"".join(parts)}</svg><ul class="key">{keys}</ul>'
    )


def _style(number: int) -> str:
    dash = _DASHES[number // _COLORS % len(_DASHES)]
    return f'class="line c{number % _COLORS}"' + (f' stroke-dasharray="{dash}"' if dash else "")


def _ticks(low: float, high: float, count: int = 5) -> Iterator[float]:
    """Round numbers between two, about `count` of them."""
    span = high - low or abs(high) or 1
    unit = 10 ** math.floor(math.log10(span / count))
    step = next(unit * x for x in (1, 2, 5, 10) if span / (unit * x) <= count + 0.5)
    for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        yield round(number * step, 10)


def _log_ticks(low: float, high: float) -> Iterator[float]:
    """1, 2 and 5 times the powers of ten between two numbers."""
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for factor in (1, 2, 5):
            value = round(factor * 10.0**power, 10)
            if low <= value <= high:
                yield value
