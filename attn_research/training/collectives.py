"""Communication between devices in one call of a compiled program, read from its HLO text."""

import math
import re
from collections import Counter
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_COMPUTATION = re.compile(r"^(ENTRY )?%(\S+) \(.*\{$")
_COLLECTIVE = re.compile(rf"^\s*(?:ROOT )?%\S+ = (.*?) ({'|'.join(KINDS)})(-start)?\(")
_CALLED = re.compile(
    r"(?:body|calls|to_apply|condition|true_computation|false_computation)=%([^\s,)]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIP_COUNT = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_ARRAY = re.compile(r"\b([a-z]+\d*)\w*\[([\d,]*)\]")


class Traffic(NamedTuple):
    """The number of calls of a collective, and the bytes each device receives by them."""

    count: int
    bytes: int


def collectives(text: str) -> dict[str, Traffic]:
    """The traffic of each kind of collective in optimized HLO, with loops counted in full.

    A loop whose trip count depends on data counts once, and so does each branch of a conditional.
    """
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    entry = ""
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            lines = computations[found[2]] = []
            entry = found[2] if found[1] else entry
        else:
            lines.append(line)
    counts, sizes = Counter(), Counter()
    todo = [(entry, 1)]
    while todo:
        name, times = todo.pop()
        for line in computations[name]:
            if found := _COLLECTIVE.match(line):
                types, kind, started = found.groups()
                if started and kind != "all-reduce":
                    types = _second(types)  # the first is the operand
                counts[kind] += times
                sizes[kind] += times * _size(types)
                continue
            trips = _TRIP_COUNT.search(line)
            each = times * int(trips[1]) if trips else times
            called = _CALLED.findall(line)
            if branches := _BRANCHES.search(line):
                called += [branch.strip(" %") for branch in branches[1].split(",")]
            todo += [(name, each) for name in called]
    return {kind: Traffic(counts[kind], sizes[kind]) for kind in KINDS if counts[kind]}


def _second(types: str) -> str:
    """The second type of a tuple of types, which may be tuples themselves."""
    depth, commas = 0, []
    for place, letter in enumerate(types):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 1:
            commas.append(place)
    return types[commas[0] + 1 : commas[1] if len(commas) > 1 else -1]


def _size(types: str) -> int:
    """The bytes of all arrays of a type, which may be a tuple."""
    total = 0
    for name, shape in _ARRAY.findall(types):
        bits = re.search(r"\d+$", name)
        each = 1 if name == "pred" else int(bits[0]) // 8 if bits else 0
        total += each * math.prod(int(size) for size in shape.split(",") if size)
    return total
