"""python -m experiments: the papers, a line each, and their rows."""

import textwrap

from experiments.papers import find, names


def overview() -> str:
    """The title, command and rows of every paper."""
    lines = []
    for paper in map(find, names()):
        rows = ", ".join(
            f"{row} (default)" if row == paper.default_row else row for row in paper.rows
        )
        lines += [paper.title, f"  python -m experiments.{paper.name}"]
        lines += textwrap.wrap(f"rows: {rows}", 98, initial_indent="  ", subsequent_indent="    ")
        lines += [f"  --scale={name}: {x.time}" for name, x in paper.scales.items() if x.time]
        lines.append("")
    lines += ["--help after the name of a paper lists its flags.", "Trained models are used by"]
    return "\n".join([*lines, "  python -m experiments.predict --help"])


if __name__ == "__main__":
    print(overview())
