"""Files of the conformance matrix: compact JSON, and the Markdown page rendered from it."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from attn_research.attention.testing.cases import DTYPES, MODES
from attn_research.attention.testing.comparison import ARITHMETIC, ROUND_WEIGHTS
from attn_research.viewing.tables import Column, Table, to_markdown

ERRORS = (
    "context ulps", "context relative", "weights ulps", "weights relative",
    "gradients ulps", "gradients relative", "of bound",
)  # fmt: skip
KEY = "implementation", "mechanism", "mask", "mode"


def pack(matrix: Sequence[dict[str, Any]], samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Results of `matrix.measure` as rows, a cell for each dtype.

    A cell lists the worst errors, or is {"refused": the number of a reason} or {"wrong": lines}.
    """
    reasons: list[str] = []
    rows: dict[tuple, list] = {}
    for each in matrix:
        row = rows.setdefault(tuple(each[name] for name in KEY), [0, *[None] * len(DTYPES)])
        row[0] = max(row[0], each.get("empty_rows", 0))
        row[1 + DTYPES.index(each["dtype"])] = _cell(each, reasons)
    wrong = [
        f"{', '.join(str(each[name]) for name in (*KEY, 'dtype', 'sizes'))}: {line}"
        for each in (*matrix, *samples)
        for line in each.get("wrong", ())
    ]
    return {
        "bound": [bound_of(dtype) for dtype in DTYPES],
        "refused": reasons,
        "wrong": wrong,
        "sizes": matrix[0]["sizes"],
        "columns": [*KEY, "empty rows", *DTYPES],
        "cell": ERRORS,
        "cases": [[*key, *row] for key, row in rows.items()],
        "sampled columns": ["implementation", "mask", "dtype", "T", "S", "H", "cell"],
        "samples": [
            [each["implementation"], each["mask"], each["dtype"]]
            + [each["sizes"][place] for place in (1, 2, 5)]
            + [_cell(each, reasons)]
            for each in samples
        ],
    }


def bound_of(dtype: str) -> str:
    """The bound of an entry x, in words."""
    half, half32 = (float(jnp.finfo(name).eps) / 2 for name in (dtype, "float32"))
    return f"{dtype}: {half:.1e} |x| + ({ARITHMETIC:.0e} + {half32:.0e} n) max(1, max |x|)"


def dump(record: dict[str, Any]) -> str:
    """JSON with one case per line."""
    lists = "cases", "samples"
    parts = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in record.items() if k not in lists]
    for name in lists:
        lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in record[name])
        parts.append(f"{json.dumps(name)}: [\n{lines}\n]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def render(record: dict[str, Any]) -> str:
    """The Markdown page, from the JSON only."""
    cells = list(_flat(record))
    B, T, S, N, K, H, Hv = record["sizes"]
    names = dict.fromkeys(implementation for implementation, *_ in cells)
    refused = sum(1 for *_, cell in cells if "refused" in cell)
    wrong = sum(1 for *_, cell in cells if "wrong" in cell)
    passed = len(cells) - refused - wrong
    machine = ", ".join(f"{name} {value}" for name, value in record["environment"].items())
    compiled = "XLA's optimizations" if record["optimized"] else "most of XLA's optimizations off"
    text = f"""# Conformance

`{record["command"]}`

{machine}; compiled with {compiled}

Implementations: {", ".join(names)}. Each is compared with
attention in float64 NumPy with its own gradients. hopper supports head widths 64 and 128 only; it
is compared in tests/attention/backends/test_hopper.py, interpreted by JAX 0.11 or later.

B = {B}, T = {T}, S = {S}, N = {N}, K = {K}, H = {H}, Hv = {Hv}. Train: the whole sequence, with
every gradient. Prefill: all queries but the last, at given positions. Step: the last query, at its
position. Of {len(cells)} cases **{passed} pass, {refused} are refused, {wrong} are wrong**. To
pass, every query that may attend to no key must give exactly 0 in context, weights and gradient,
and every masked weight must be exactly 0.

Errors are those of the worst entry, relative to the largest entry of its array or to 1, whichever
is larger, and in ulps of that in the dtype of the result; weights are float32 for all operands. To
pass, each entry x must also be within its own bound, which in half precision is little more than
its rounding:

"""
    text += "".join(f"- {line}\n" for line in record["bound"])
    rounding = [name for name in ROUND_WEIGHTS if name in {cell[0] for cell in cells}]
    text += (
        "\nwhere n is the number of score rows that a gradient sums over, as for a shared bias or\n"
        "parameter, and otherwise 1. "
    )
    if rounding:
        text += (
            f"{', '.join(rounding)} multiply weights and gradients of scores in\n"
            "half precision; their bound has one ulp times the root of the number of terms more. "
        )
    text += '"Of bound" is\nthe largest error relative to its bound.\n'
    if record["wrong"]:
        text += "\n## Wrong\n\n" + "".join(f"- {line}\n" for line in record["wrong"])
    text += f"\n## Worst errors\n\n{to_markdown(_worst(cells))}"
    text += (
        "\n## By mechanism\n\nThe worst ulps of context and gradients over all masks; – where "
        f"nothing is supported.\n\n{to_markdown(_by_mechanism(cells))}"
    )
    if record["samples"]:
        text += f"\n## Lengths and head widths\n\n{_sampled(record)}"
    if record.get("transformations"):
        text += f"\n## Transformations and modes of JAX\n\n{_transformed(record)}"
    if record["refused"]:
        text += f"\n## Refused\n\n{to_markdown(_refused(record, cells))}"
    return text + "\nEvery case is in [conformance.json](conformance.json).\n"


def _cell(result: dict[str, Any], reasons: list[str]) -> Any:
    if "refused" in result:
        if result["refused"] not in reasons:
            reasons.append(result["refused"])
        return {"refused": reasons.index(result["refused"])}
    if result["wrong"]:
        return {"wrong": result["wrong"]}
    return [None if x is None else float(f"{x:.2g}") for x in result["errors"]]


def _flat(record: dict[str, Any]) -> Iterator[tuple]:
    """(implementation, mechanism, mask, mode, empty rows, dtype, cell) of every case."""
    for row in record["cases"]:
        for dtype, cell in zip(DTYPES, row[len(KEY) + 1 :], strict=True):
            yield *row[: len(KEY) + 1], dtype, cell


def _most(cells: Iterable[Any], *places: int) -> float | None:
    """The largest of those errors over the cells that passed."""
    values = [cell[place] for cell in cells if isinstance(cell, list) for place in places]
    return max((value for value in values if value is not None), default=None)


def _worst(cells: Sequence[tuple]) -> Table:
    groups: dict[tuple, list] = defaultdict(list)
    for implementation, _, _, _, empty, dtype, cell in cells:
        groups[implementation, dtype].append((empty, cell))
    columns = [Column("implementation, dtype", ""), Column("pass", "d"), Column("refused", "d")]
    columns += [Column(name, ".2g" if "ulps" in name else ".1e") for name in ERRORS[:-1]]
    columns += [Column(ERRORS[-1], ".2f"), Column("empty rows, all 0", "d")]
    rows = []
    for name, group in groups.items():
        inner = [cell for _, cell in group]
        rows.append(
            {
                "implementation, dtype": ", ".join(name),
                "pass": sum(isinstance(cell, list) for cell in inner),
                "refused": sum("refused" in cell for cell in inner),
                **{error: _most(inner, place) for place, error in enumerate(ERRORS)},
                "empty rows, all 0": sum(n for n, cell in group if isinstance(cell, list)),
            }
        )
    return Table(columns, rows)


def _by_mechanism(cells: Sequence[tuple]) -> Table:
    groups: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    for implementation, mechanism, _, mode, _, dtype, cell in cells:
        groups[f"{implementation}, {mechanism}"][f"{dtype} {mode}"].append(cell)
    titles = [f"{dtype} {mode}" for dtype in DTYPES for mode in MODES]
    columns = [Column("", ""), *(Column(title, ".2g") for title in titles)]
    context, gradients = ERRORS.index("context ulps"), ERRORS.index("gradients ulps")
    rows = [
        {"": name} | {title: _most(group[title], context, gradients) for title in titles}
        for name, group in groups.items()
    ]
    return Table(columns, rows)


def _sampled(record: dict[str, Any]) -> str:
    groups: dict[tuple, list] = defaultdict(list)
    triples = {}
    for implementation, _, dtype, *sizes, cell in record["samples"]:
        groups[implementation, dtype].append(cell)
        triples[tuple(sizes)] = None
    columns = [Column("implementation, dtype", ""), Column("tried", "d"), Column("pass", "d")]
    columns += [
        Column("refused", "d"),
        Column("context ulps", ".2g"),
        Column("gradients ulps", ".2g"),
    ]
    columns += [Column("of bound")]
    rows = [
        {
            "implementation, dtype": ", ".join(name),
            "tried": len(group),
            "pass": sum(isinstance(cell, list) for cell in group),
            "refused": sum("refused" in cell for cell in group),
            **{e: _most(group, ERRORS.index(e)) for e in (c.title for c in columns[4:])},
        }
        for name, group in groups.items()
    ]
    drawn = ", ".join("×".join(map(str, triple)) for triple in triples)
    return (
        f"Seeded draws of T and S in 1..257 and H in 16..256 step 8, here as T×S×H: {drawn}.\n\n"
        f"{to_markdown(Table(columns, rows))}"
    )


def _outcomes(record: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(implementation, transformation, outcome) of each."""
    for name, outcomes in record["transformations"].items():
        for implementation, found in zip(record["implementations"], outcomes, strict=True):
            yield implementation, name, found


def wrong_transformations(record: dict[str, Any]) -> list[str]:
    """A line for each transformation that does not give the reference."""
    return [
        f"{implementation}, {name}: {found}"
        for implementation, name, found in _outcomes(record)
        if found.startswith("wrong")
    ]


def _transformed(record: dict[str, Any]) -> str:
    rows: dict[str, dict] = defaultdict(dict)
    reasons: dict[str, None] = {}
    for implementation, name, found in _outcomes(record):
        wrong = found.startswith("wrong")
        rows[name][implementation] = found if found == "equal" or wrong else "refused"
        if not wrong and found != "equal":
            reasons[found] = None
    columns = [Column("", ""), *(Column(name, "") for name in record["implementations"])]
    table = to_markdown(Table(columns, [{"": name} | row for name, row in rows.items()]))
    return (
        "Context and gradients beside those of the reference, on eight devices made of one CPU. "
        "Where arrays\nare sharded, the compiled program may hold no collective. Refused, with the "
        f"reason: {'; '.join(reasons) or 'none'}.\n\n{table}"
    )


def _refused(record: dict[str, Any], cells: Sequence[tuple]) -> Table:
    counts: dict[tuple, int] = defaultdict(int)
    of_samples = ((row[0], row[-1]) for row in record["samples"])
    for implementation, cell in (*((c[0], c[-1]) for c in cells), *of_samples):
        if "refused" in cell:
            counts[record["refused"][cell["refused"]], implementation] += 1
    rows = [
        {"reason": reason, "implementation": implementation, "cases": count}
        for (reason, implementation), count in counts.items()
    ]
    return Table([Column("reason", ""), Column("implementation", ""), Column("cases", "d")], rows)


def verify(path: Path) -> tuple[str, str, bool]:
    """(name, finding, whether it holds): nothing is wrong in a matrix, and its page is its own."""
    record = json.loads(path.read_bytes())
    same = render(record) == path.with_suffix(".md").read_text("utf-8")
    finding = "; ".join(record["wrong"]) or (
        "rendered the same" if same else "differs from its JSON"
    )
    return path.parent.name, finding, same and not record["wrong"]
