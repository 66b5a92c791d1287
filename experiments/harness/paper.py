"""A paper: a network on a task, the rows of its tables and the scales they run at."""

import dataclasses
import difflib
import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import optax
from flax import linen as nn

from attn_research.training.optimizers import make_optimizer, make_schedule
from attn_research.training.trainable import Trainable
from attn_research.types import PyTree
from experiments.harness.config import Clause, Config
from experiments.harness.task import Task

RESULTS = Path(__file__).parents[1] / "results"
Values = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a paper's table: its changes to the config, and the figures the paper printed.

    `times` are values that change by a factor, rounded up, so that a row is the same at every
    scale; `scales` are changes at one scale only. An ensemble is not trained: it names its members.
    """

    config: Values = dataclasses.field(default_factory=dict)
    paper: dict[str, Any] = dataclasses.field(default_factory=dict)
    members: tuple[str, ...] = ()
    times: Mapping[str, Fraction] = dataclasses.field(default_factory=dict)
    scales: Mapping[str, Values] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Scale:
    """The values of a scale, of each data set at that scale, and how long a row takes there."""

    values: Values = dataclasses.field(default_factory=dict)
    data: Mapping[str, Values] = dataclasses.field(default_factory=dict)
    time: str = ""


# Of scale tiny. Most of it is compilation, which a second run does not repeat.
TINY_TIME = "under a minute a row on two CPU cores"


def config_optimizer(
    config: Config, learning_rate: float | None = None
) -> optax.GradientTransformation:
    """The optimizer that a config names, at its learning rate or another."""
    part, steps = config.optimizer, config.train.num_steps
    schedule = make_schedule(
        part.schedule,
        part.learning_rate if learning_rate is None else learning_rate,
        steps,
        warmup=part.warmup_steps,
        end=part.end_rate,
        halve_after=round(part.halve_after * steps),
        halve_every=max(1, round(part.halve_every * steps)),
    )
    return make_optimizer(part.optimizer, schedule, part.clip_norm, part.weight_decay)


@dataclasses.dataclass(frozen=True)
class Paper:
    """An experiment: the config and its rows and scales, the task, the network and the tables."""

    name: str  # of the folder under experiments/
    title: str
    config: Config  # the defaults
    rows: Mapping[str, Row]
    default_row: str
    scales: Mapping[str, Scale]
    task: Callable[[Config], Task]
    network: Callable[[Config, Any], nn.Module]
    report: Callable[[Path, "Paper"], None]  # writes tables and figures from a folder of results
    optimizer: Callable[[Config], optax.GradientTransformation] = config_optimizer
    initial: Callable[[Config, Any], PyTree] | None = None  # parameters to start from
    # Of a config, the rule by path of what is trained, None for all; the others are frozen.
    trainable: Callable[[Config], Trainable | None] = lambda config: None
    # By path, parameters that --init_from need not have, such as a new head: drawn at random.
    fresh: Callable[[str], bool] | None = None
    # What the parameters of --init_from become in this network, before they are compared with it.
    adapt: Callable[[Config, PyTree], PyTree] = lambda config, params: params
    # Values that others imply, such as the sizes of the network of --init_from. The second argument
    # has the names of what flags and the row state, which is not implied.
    complete: Callable[[Config, Set[str]], Config] = lambda config, stated: config
    # What values of other parts need of the network, besides what their settings say.
    needs: Mapping[str, Sequence[Clause]] = dataclasses.field(default_factory=dict)


class Resolved(NamedTuple):
    """The config of a row, and for each value the layer that it came from."""

    config: Config
    layers: dict[str, str]


def nearest(word: str, words: Iterable[str]) -> str:
    """A hint at the nearest of some words, or nothing."""
    found = difflib.get_close_matches(word, list(words), 1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def own_values(paper: Paper, row: str, given: Values) -> dict[str, Any]:
    """The values that a row sets itself, at the scale and on the data that are given."""
    return _layers(paper, row, given)[2]


def _layers(paper: Paper, row: str, given: Values) -> tuple[Values, Values, dict[str, Any]]:
    """The values of a scale, of its data set, and of a row there."""
    if row not in paper.rows:
        raise ValueError(
            f"no row {row!r}: --row is one of {', '.join(paper.rows)}{nearest(row, paper.rows)}"
        )
    default, of_row = paper.config.train.scale, paper.rows[row]
    name = given.get("scale", default)
    if name not in (*paper.scales, default):
        known = dict.fromkeys((*paper.scales, default))
        raise ValueError(f"--scale={name}: {paper.name} has {' and '.join(known)}")
    scale = paper.scales.get(name, Scale())
    data = given.get("data", scale.values.get("data", paper.config.data))
    of_data = dict(scale.data.get(data, {})) | ({"data": data} if data else {})
    now = paper.config.values() | dict(scale.values) | of_data
    own = {name: math.ceil(now[name] * factor) for name, factor in of_row.times.items()}
    return scale.values, of_data, own | {**of_row.config, **of_row.scales.get(name, {})}


def trace(paper: Paper, row: str, given: Values) -> Resolved:
    """The config of a row: defaults, then its scale, data set and row, then flags, with origins."""
    of_scale, of_data, own = _layers(paper, row, given)
    stated = paper.config.replace(**{**of_scale, **of_data, **own, **given})
    config = paper.complete(stated, own.keys() | given.keys())
    scale, data = config.train.scale, config.data
    layers = dict.fromkeys(config.values(), "default") | dict.fromkeys(of_scale, f"scale {scale}")
    layers |= {name: f"scale {scale} of {data}" for name in of_data if name != "data"}
    layers |= dict.fromkeys(own, f"row {row}") | dict.fromkeys(given, "flag")
    before = stated.values()
    implied = [name for name, value in config.values().items() if value != before[name]]
    layers |= dict.fromkeys(implied, "implied by another value")
    return Resolved(config, layers)


def resolve(paper: Paper, row: str, given: Values) -> Config:
    """The config of a row."""
    return trace(paper, row, given).config


def command(paper: Paper, row: str, config: Config) -> str:
    """The shortest command line of a run."""
    values = config.values()
    given = {name: values[name] for name in ("scale", "data", "seed") if name in values}
    plain = resolve(paper, row, given).values()
    local = {field.name for _, field in config.fields() if field.metadata["local"]}
    given |= {k: v for k, v in values.items() if v != plain[k] and k not in local}
    words = [f"--{name}={value}" for name, value in given.items()]
    return shlex.join(["python", "-m", f"experiments.{paper.name}", f"--row={row}", *words])


def parse_command(paper: Paper, text: str) -> Config:
    """The config of a command line as `command` writes it."""
    words = dict(word[2:].split("=", 1) for word in shlex.split(text)[3:])
    read = {bool: lambda word: word == "True", int: int, float: float}
    types = {field.name: field.type for _, field in paper.config.fields()}
    row = words.pop("row")
    given = {name: read.get(types[name], str)(word) for name, word in words.items()}
    return resolve(paper, row, given)
