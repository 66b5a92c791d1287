"""Checks and names of given values: those without effect or against a row are refused.

A row stands for its own values. Given others, it would print a number under a wrong name. A value
of the network that no row sets may be given, and stands beside the row's name wherever that is.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from experiments.harness.config import Clause, Config, names_in, run_name
from experiments.harness.paper import Paper, Values, own_values, resolve


def check_given(paper: Paper, row: str, given: Values) -> None:
    """ValueError for a given value that has no effect, or that the row sets to another one.

    The members of an ensemble are checked like rows of their own.
    """
    for name in (row, *paper.rows[row].members):
        _check_row(paper, name, given)


def _check_row(paper: Paper, row: str, given: Values) -> None:
    own, config = own_values(paper, row, given), resolve(paper, row, given)
    defining = _defining(paper.config)
    for name, value in given.items():
        if name in own and name in defining and value != own[name]:
            raise ValueError(_against_row(paper, row, name, given))
    values = config.values()
    for name, value in (own | dict(given)).items():
        is_open = type(value) is int and value == 0  # a size that --init_from may fill
        if values[name] != value and not is_open:
            raise ValueError(_against_start(paper, row, name, value, values))
    for name, clauses in _needs(paper):
        for clause in clauses:
            if name in given and not _holds(clause, values):
                shown = f"--{name}={_show(given[name])}"
                raise ValueError(f"{shown} has no effect {_way_out(paper, row, clause, values)}")


def label(paper: Paper, row: str, given: Values) -> str:
    """The row's name, with the values of the network that flags changed, as in ROW, score=dot."""
    plain = resolve(paper, row, {k: v for k, v in given.items() if k in ("scale", "data")}).values()
    shown = {name: _show(given[name]) for name in _shown(paper) if name in given}
    changed = [f"{name}={x}" for name, x in shown.items() if given[name] != plain[name]]
    return ", ".join([row, *changed])


def folder_name(paper: Paper, row: str, given: Values, config: Config) -> str:
    """The name of the files of a row's run."""
    return run_name(label(paper, row, given), config.train.seed)


def _defining(config: Config) -> set[str]:
    """The names of values that define a row: not how long it trains, nor how it is computed."""
    return config.values().keys() - names_in(config.train) - names_in(config.execution)


def _shown(paper: Paper) -> list[str]:
    """The names of the network's values, and of those in which the paper's rows differ."""
    of_rows = {name for row in paper.rows.values() for name in (*row.config, *row.times)}
    shown = (of_rows | names_in(paper.config.model)) & _defining(paper.config)
    return [name for name in paper.config.values() if name in shown]


def _needs(paper: Paper) -> Iterator[tuple[str, Sequence[Clause]]]:
    """(name, the conditions under which it has an effect) of every value."""
    for _, field in paper.config.fields():
        yield field.name, (*paper.needs.get(field.name, ()), *field.metadata["needs"])


def _holds(clause: Clause, values: Values) -> bool:
    return any(_suffices(values[name], wanted) for name, wanted in clause.items())


def _suffices(value: Any, wanted: tuple) -> bool:
    return value in wanted if wanted else bool(value)


def _way_out(paper: Paper, row: str, clause: Clause, values: Values) -> str:
    """Why a value has no effect, and what to do about it."""
    name, wanted = next(iter(clause.items()))
    given = {"scale": values["scale"]} | ({"data": values["data"]} if "data" in values else {})
    own = own_values(paper, row, given)
    why = f"with --{name}={_show(values[name])}"
    if name in own and name in _defining(paper.config):
        others = [each for each in paper.rows if not paper.rows[each].members]
        fitting = [r for r in others if _holds(clause, resolve(paper, r, given).values())]
        way = f"choose --row={fitting[0]}" if fitting else "choose another row"
        return f"{why}, which row {row} sets: remove it, or {way}"
    ways = "=" + " or ".join(map(_show, wanted)) if wanted else " another value"
    return f"{why}: remove it, or give --{name}{ways}"


def _against_row(paper: Paper, row: str, name: str, given: Values) -> str:
    """What a row sets itself, and where the given value can be had."""
    own, value = own_values(paper, row, given), given[name]
    found = {each: own_values(paper, each, given) for each in paper.rows}
    same = [each for each, its in found.items() if its == own | {name: value}]
    same = same or [each for each, its in found.items() if its.get(name) == value]
    default = paper.default_row
    if same:
        way = f"choose --row={' or '.join(same[:3])}"
    elif name not in found[default]:
        way = f"give it to --row={default}"
    else:
        way = f"add a row of your own to experiments/{paper.name}"
    return (
        f"--{name}={_show(value)}: row {row} sets {name}={_show(own[name])} itself; "
        f"remove the flag, or {way}"
    )


def _against_start(paper: Paper, row: str, name: str, value: Any, values: Values) -> str:
    """That --init_from has another value than one that is given, or that a row sets."""
    start = f"--init_from={values['init_from']} has {name}={_show(values[name])}"
    if name in own_values(paper, row, values):
        return f"row {row} sets {name}={_show(value)}, and {start}: choose another row"
    return f"--{name}={_show(value)}, and {start}: remove one of the flags"


def _show(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
