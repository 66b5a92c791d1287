"""What an experiment module is made of: its knobs, its rows, and the values of one run.

An experiment module gives a Config, its table ROWS, its SCALES and `build`. The values of a run are
those of Config, changed by its scale and data, then by its row, then by the flags that were given.
"""

import dataclasses
import math
import shlex
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import jax
import optax

from attn_research.attention.api import IMPLEMENTATIONS
from attn_research.data.batching import Rows
from attn_research.training.cost import matmul_flops
from attn_research.training.mesh import TensorRules
from attn_research.training.optimizers import make_optimizer, make_schedule
from attn_research.training.placement import Placement, make_placement
from attn_research.training.step import (
    Loss,
    TrainState,
    computed_in,
    make_state,
    make_train_step,
)
from attn_research.types import PyTree

Scale = Literal["tiny", "small", "paper"]
Optimizer = Literal["adam", "adamw", "adam_2017", "adadelta", "muon", "sgd"]
Schedule = Literal["constant", "cosine", "halving", "inverse_sqrt"]
RESULTS = Path(__file__).parent / "results"
# Knobs of how steps are computed, and not of what they compute.
WHERE = ("implementation", "placement", "mesh", "parts", "remat", "max_bytes", "max_compiles")


def knob(default: Any, text: str, minimum: float | None = None) -> Any:
    """A field of a Config: its default, what the flag's help says, and the least value it takes."""
    return dataclasses.field(default=default, metadata={"help": text, "minimum": minimum})


@dataclasses.dataclass(frozen=True)
class Config:
    """The knobs of every experiment. A flag is made of each field when `main` runs."""

    scale: Scale = knob("small", "tiny (seconds), small (minutes), or paper (its own sizes)")
    data: str = knob("grammar", "where the data comes from")
    seed: int = knob(0, "of parameters, data order and dropout", 0)
    num_steps: int = knob(1000, "training steps", 1)
    eval_every: int = knob(500, "steps between evaluations on the development set", 1)
    save_every: int = knob(500, "steps between checkpoints", 1)
    optimizer: Optimizer = knob("adam", "the update rule")
    weight_decay: float = knob(0.0, "--optimizer=adamw or muon: of matrices", 0.0)
    learning_rate: float = knob(1e-3, "its rate, at the peak of the schedule", 0.0)
    schedule: Schedule = knob("cosine", "of the rate over the steps")
    warmup_steps: int = knob(100, "steps of linear warmup of a cosine or inverse_sqrt schedule", 0)
    halve_after: float = knob(0.5, "part of the steps before a halving schedule first halves", 0.0)
    halve_every: float = knob(0.1, "part of the steps between two halvings", 1e-6)
    clip_norm: float = knob(1.0, "the greatest L2 norm of a gradient", 1e-6)
    average: int = knob(
        0, "evaluate the mean parameters of this many last checkpoints; 0: the best ones", 0
    )
    dtype: Literal["float32", "bfloat16"] = knob(
        "float32", "what training computes in; parameters and losses are float32 always"
    )
    implementation: Literal["auto", *(each.name for each in IMPLEMENTATIONS)] = knob(
        "auto", "how attention is computed; auto: as suits each call"
    )
    placement: Literal["jit", "sharded", "pmap"] = knob(
        "jit", "train on one device, on a mesh of them, or mapped over them: the result is the same"
    )
    mesh: str = knob(
        "", "sizes of the axes data, fsdp and tensor, as data=4,fsdp=2; unset: data, over all"
    )
    parts: int = knob(1, "take a batch in so many parts one after another, for less memory", 1)
    remat: Literal["none", "products", "all"] = knob(
        "none", "what layers compute again for the gradient, for less memory"
    )
    max_bytes: str = knob(
        "", "refuse a step that needs more of a device, as in 1.5GiB, and say what would fit"
    )
    max_compiles: int = knob(
        0, "refuse batches of more shapes, each a program to compile; 0: any number", 0
    )

    @property
    def peak_rate(self) -> float:
        """The learning rate at the peak of the schedule."""
        return self.learning_rate

    @property
    def named_implementation(self) -> str | None:
        """The argument of `attend`."""
        return None if self.implementation == "auto" else self.implementation


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a paper's table: what sets it apart, and what the paper printed for it.

    An ensemble is not trained: it is made of the trained rows it names. `times` are knobs that
    change by a factor, rounded up, so that a row says the same at every scale; `scales` is what
    sets the row apart at one scale only.
    """

    config: dict[str, Any]
    paper: dict[str, Any]
    members: tuple[str, ...] = ()
    times: dict[str, Fraction] = dataclasses.field(default_factory=dict)
    scales: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Model:
    """What a step needs, known from the config alone: nothing is loaded or allocated."""

    init: Callable[[jax.Array], PyTree]
    loss: Loss
    eval_loss: Loss
    batch: PyTree  # the shapes of the largest batch of one step
    tensor_rules: TensorRules = ()  # how devices may share its matrices


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One row, ready to run."""

    model: Model
    batches: Callable[[int, Rows], Iterator[PyTree]]  # from a step on, some rows of each
    dev_batches: Callable[[], Iterator[PyTree]]
    train_sample: Callable[[], Iterator[PyTree]]  # some of the training data, for its loss
    evaluate: Callable[[PyTree, Path], dict[str, Any]]  # writes predictions; returns scores
    about: dict[str, Any]  # data hashes and counts, for the results
    steps_per_epoch: float


@dataclasses.dataclass(frozen=True)
class Paper:
    """An experiment module, as the harness sees it."""

    name: str
    config: type[Config]
    rows: dict[str, Row]
    scales: dict[tuple[str, str], dict[str, Any]]  # (data, scale) to what it changes
    make_model: Callable[[Any], Model]
    build: Callable[[Any], Experiment]
    # The scores of a run, computed again from the predictions in a folder.
    rescore: Callable[[Any, Path], dict[str, Any]]
    report: Callable[[Path], None]  # draws tables and figures from a folder of results
    # The scores of an ensemble, from (config, parameters) of each member; writes predictions.
    evaluate_ensemble: Callable[[list[tuple[Any, PyTree]], Path], dict[str, Any]] | None = None


def resolve(paper: Paper, row: str, given: dict[str, Any]) -> Any:
    """The config of a row: defaults, then scale and data, then the row, then what was given."""
    if row not in paper.rows:
        raise ValueError(f"no row {row!r}: --row is one of {', '.join(paper.rows)}")
    base = paper.config()
    data, scale = given.get("data", base.data), given.get("scale", base.scale)
    if "data" not in given and scale == "paper":
        data = paper.scales[("", "paper")]["data"]
    changes = paper.scales.get(("", scale), {}) | paper.scales.get((data, scale), {})
    base = dataclasses.replace(base, **(changes | {"data": data}))
    factors = paper.rows[row].times.items()
    of_row = {name: math.ceil(getattr(base, name) * factor) for name, factor in factors}
    of_row |= paper.rows[row].config | paper.rows[row].scales.get(scale, {})
    return dataclasses.replace(base, **(of_row | given))


def make_config_optimizer(config: Config) -> optax.GradientTransformation:
    """The optimizer a config asks for."""
    steps = config.num_steps
    schedule = make_schedule(
        config.schedule,
        config.peak_rate,
        steps,
        warmup=config.warmup_steps,
        halve_after=round(config.halve_after * steps),
        halve_every=max(1, round(config.halve_every * steps)),
    )
    return make_optimizer(config.optimizer, schedule, config.clip_norm, config.weight_decay)


def make_config_placement(config: Config, tensor_rules: TensorRules = ()) -> Placement:
    """The placement a config asks for, over the devices there are."""
    return make_placement(config.placement, config.mesh, tensor_rules, config.parts)


def training_loss(config: Config, model: Model) -> Loss:
    """The loss whose gradient is taken."""
    return model.loss if config.dtype == "float32" else computed_in(model.loss, config.dtype)


def state_shapes(config: Config, model: Model) -> TrainState:
    """The shapes of a run's state; nothing is allocated."""
    optimizer, key = make_config_optimizer(config), jax.random.key(0)
    return jax.eval_shape(lambda: make_state(model.init(key), optimizer))


def step_flops(config: Config, model: Model) -> int:
    """FLOPs of the matrix products and convolutions of a step, on however many devices."""
    optimizer, key = make_config_optimizer(config), jax.random.key(0)
    step = make_train_step(training_loss(config, model), optimizer, key)
    return matmul_flops(step, state_shapes(config, model), model.batch)


def identify(config: Config) -> dict[str, Any]:
    """What makes a run what it is: every knob but the folder of data sets and where steps run."""
    values, others = dataclasses.asdict(config), {"data_dir", *WHERE}
    return {name: value for name, value in values.items() if name not in others}


def run_name(row: str, seed: int | str) -> str:
    """What the files of a run are called: ROW.seedN, a row named with a slash in one folder too."""
    return f"{row.replace('/', '-')}.seed{seed}"


def command(paper: Paper, row: str, config: Any) -> str:
    """The shortest command line that gives this run."""
    given = {"scale": config.scale, "data": config.data, "seed": config.seed}
    plain = resolve(paper, row, given)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != getattr(plain, field.name) and field.name != "data_dir":
            given[field.name] = value
    words = [f"--{name}={value}" for name, value in given.items()]
    return shlex.join(["python", "-m", f"experiments.{paper.name}", f"--row={row}", *words])


def of_command(paper: Paper, text: str) -> Any:
    """The config that a line of `command` gives."""
    words = dict(word[2:].split("=", 1) for word in shlex.split(text)[3:])
    read = {bool: lambda word: word == "True", int: int, float: float}
    types = {field.name: field.type for field in dataclasses.fields(paper.config)}
    row = words.pop("row")
    given = {name: read.get(types[name], str)(word) for name, word in words.items()}
    return resolve(paper, row, given)
