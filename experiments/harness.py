"""What every experiment shares: flags from a dataclass, run folders, training, results.

An experiment module gives a Config, its table ROWS, its SCALES and `build`. The values of a run are
those of Config, changed by its scale and data, then by its row, then by the flags that were given.
"""

import dataclasses
import errno
import functools
import json
import logging
import shlex
import sys
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import jax
import optax
from absl import app, flags

from attn_research.data.files import write_whole
from attn_research.training.checkpoints import Checkpoints
from attn_research.training.cost import matmul_flops
from attn_research.training.loop import Hook, fit
from attn_research.training.metrics import MetricsLog
from attn_research.training.optimizers import make_optimizer, warmup_then_decay
from attn_research.training.step import Loss, make_eval_step, make_state, make_train_step
from attn_research.types import PyTree
from experiments.reporting import environment

Scale = Literal["tiny", "small", "paper"]
RESULTS = Path(__file__).parent / "results"


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
    optimizer: Literal["adam", "adadelta"] = knob("adam", "the update rule")
    learning_rate: float = knob(1e-3, "its rate, at the peak of the schedule", 0.0)
    schedule: Literal["constant", "cosine"] = knob("cosine", "of the rate over the steps")
    warmup_steps: int = knob(100, "steps of linear warmup before a cosine schedule", 0)
    clip_norm: float = knob(1.0, "the greatest L2 norm of a gradient", 1e-6)


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a paper's table: what sets it apart, and what the paper printed for it."""

    config: dict[str, Any]
    paper: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Model:
    """What a step needs, known from the config alone: nothing is loaded or allocated."""

    init: Callable[[jax.Array], PyTree]
    loss: Loss
    eval_loss: Loss
    batch: PyTree  # the shapes of the largest batch of one step


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One row, ready to run."""

    model: Model
    batches: Callable[[int], Iterator[PyTree]]  # from a step on
    dev_batches: Callable[[], Iterator[PyTree]]
    train_sample: Callable[[], Iterator[PyTree]]  # some of the training data, for its loss
    evaluate: Callable[[PyTree, Path], dict[str, Any]]  # writes predictions; returns scores
    about: dict[str, Any]  # data hashes and counts, for the results
    steps_per_epoch: int


@dataclasses.dataclass(frozen=True)
class Paper:
    """An experiment module, as the harness sees it."""

    name: str
    config: type[Config]
    rows: dict[str, Row]
    scales: dict[tuple[str, str], dict[str, Any]]  # (data, scale) to what it changes
    make_model: Callable[[Any], Model]
    build: Callable[[Any], Experiment]
    report: Callable[[list[Path]], None]  # draws tables and figures from a folder of results


def main(paper: Paper) -> None:
    """Parses flags and runs one row, the whole table, or `--describe`. Bad input is one line."""
    _define_flags(paper)
    app.run(functools.partial(_main, paper), flags_parser=parse_flags)


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses flags; a bad one is a line that names it, and no page of help."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _fail(error)


def _fail(error: Exception) -> NoReturn:
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        text += ": free space there, or name another --run_dir"
    print(f"error: {text}", file=sys.stderr)
    sys.exit(1)


def resolve(paper: Paper, row: str, given: dict[str, Any]) -> Any:
    """The config of a row: defaults, then scale and data, then the row, then what was given."""
    if row not in paper.rows:
        raise ValueError(f"no row {row!r}: --row is one of {', '.join(paper.rows)}")
    base = paper.config()
    data, scale = given.get("data", base.data), given.get("scale", base.scale)
    if "data" not in given and scale == "paper":
        data = paper.scales[("", "paper")]["data"]
    changes = paper.scales.get(("", scale), {}) | paper.scales.get((data, scale), {})
    return dataclasses.replace(base, **(changes | {"data": data} | paper.rows[row].config | given))


def run_row(
    paper: Paper,
    row: str,
    config: Any,
    *,
    run_dir: Path,
    results_dir: Path,
    resume: bool,
    progress: bool = True,
) -> Path:
    """Trains and evaluates one row; returns its result file, which is written last.

    A finished row is not run again. A run folder that holds checkpoints is continued with `resume`
    and refused without.
    """
    name = f"{row}.seed{config.seed}"
    result_file = results_dir / f"{name}.json"
    identity = identify(config)
    if result_file.exists():
        if json.loads(result_file.read_text())["config"] != identity:
            raise ValueError(
                f"{result_file} holds this row of another configuration: "
                "give the same flags, or another --results_dir"
            )
        logging.info("%s is finished: %s", name, result_file)
        return result_file
    folder = run_dir / name
    for needed in (folder, results_dir):
        try:
            needed.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"cannot write to {needed} ({error.strerror}): name another --run_dir"
            ) from error
    experiment = paper.build(config)
    model = experiment.model
    optimizer = make_config_optimizer(config)
    checkpoints = Checkpoints(folder / "checkpoints", identity)
    best = Checkpoints(folder / "best", identity, keep=1)
    if checkpoints.steps() and not resume:
        raise ValueError(
            f"{folder} holds a run of {checkpoints.steps()[-1]} steps: "
            "--resume continues it; to start again, remove it or name another --run_dir"
        )
    key = jax.random.key(config.seed)
    state = jax.eval_shape(lambda: make_state(model.init(key), optimizer))
    found = checkpoints.restore(state)
    seconds = 0.0
    if found is None:
        state = jax.jit(lambda: make_state(model.init(key), optimizer))()
    else:
        state, seconds = found[1], found[2]["seconds"]
        logging.info("%s continues from step %d", name, found[0])
    write_whole(folder / "config.json", json.dumps(identity, indent=2).encode())
    start, began = int(state.step), time.perf_counter()
    log = MetricsLog(folder, start=start, num_steps=config.num_steps, progress=progress)
    eval_step = make_eval_step(model.eval_loss)

    kept = best.restore(state.params)
    best_loss = float("inf") if kept is None else kept[2]["dev_loss"]

    def evaluate(step, state):
        nonlocal best_loss
        if step == 0:
            return
        with log.paused():
            values = mean_loss(eval_step, state.params, experiment.dev_batches())
            log.record(step, {f"dev_{name}": value for name, value in values.items()})
            if values["loss"] < best_loss:
                best_loss = values["loss"]
                best.save(step, state.params, dev_loss=best_loss, dev_nll=values["nll"])

    def save(step, state):
        log.flush(step)
        with log.paused():
            checkpoints.save(step, state, seconds=seconds + time.perf_counter() - began)

    step = make_train_step(model.loss, optimizer, key)
    try:
        state = fit(
            step,
            state,
            experiment.batches(start),
            num_steps=config.num_steps,
            writer=log,
            hooks=[Hook(config.eval_every, evaluate), Hook(config.save_every, save)],
        )
    finally:
        log.close()
    seconds += time.perf_counter() - began
    kept = best.restore(state.params)
    if kept is None:
        raise ArithmeticError("the development loss was never finite: lower --learning_rate")
    best_step, params, about = kept
    scores = experiment.evaluate(params, results_dir / name)
    result = {
        "experiment": paper.name,
        "row": row,
        "command": command(paper, row, config),
        "config": identity,
        "updates": config.num_steps,
        "epochs": config.num_steps / experiment.steps_per_epoch,
        "seconds": seconds,
        "best_step": best_step,
        "train_nll": mean_loss(eval_step, params, experiment.train_sample())["nll"],
        "dev_nll": about["dev_nll"],
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
        "scores": scores,
        "about": experiment.about,
        "environment": environment(),
    }
    write_whole(result_file, json.dumps(result, indent=1, ensure_ascii=False).encode())
    checkpoints.close()
    best.close()
    return result_file


def mean_loss(eval_step, params: PyTree, batches: Iterator[PyTree]) -> dict[str, float]:
    """The loss per unit of weight, and the NLL per sentence, over all batches."""
    total = weight = sentences = 0.0
    for batch in batches:
        sums = eval_step(params, batch)
        total, weight = total + float(sums.total), weight + float(sums.weight)
        sentences += float(sums.counts["sentences"])
    return {"loss": total / weight, "nll": total / sentences}


def make_config_optimizer(config: Config) -> optax.GradientTransformation:
    """The optimizer a config asks for."""
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate = warmup_then_decay(rate, config.warmup_steps, config.num_steps)
    return make_optimizer(config.optimizer, rate, config.clip_norm)


def describe(paper: Paper, row: str, config: Any) -> dict[str, Any]:
    """Parameters, FLOPs and bytes of a step, from shapes alone."""
    model, optimizer = paper.make_model(config), make_config_optimizer(config)
    key = jax.random.key(0)
    state = jax.eval_shape(lambda: make_state(model.init(key), optimizer))
    leaves = jax.tree_util.tree_leaves_with_path(state.params)
    sizes = {jax.tree_util.keystr(path, simple=True, separator="/"): x.size for path, x in leaves}
    biases = sum(size for path, size in sizes.items() if path.endswith("bias"))
    step = make_train_step(model.loss, optimizer, key)
    nbytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    return {
        "experiment": paper.name,
        "row": row,
        "scale": config.scale,
        "weights": sum(sizes.values()) - biases,
        "biases": biases,
        "matmul_flops_per_step": matmul_flops(step, state, model.batch),
        "state_bytes": nbytes,
        "batch": {name: list(x.shape) for name, x in model.batch.items()},
        "paper": paper.rows[row].paper,
        "config": identify(config),
    }


def identify(config: Config) -> dict[str, Any]:
    """What makes a run what it is: every knob but where files lie."""
    values = dataclasses.asdict(config)
    return {name: value for name, value in values.items() if name != "data_dir"}


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


def _define_flags(paper: Paper) -> None:
    for field in dataclasses.fields(paper.config):
        text = field.metadata.get("help", field.name)
        options = {"lower_bound": field.metadata["minimum"]}
        if typing.get_origin(field.type) is Literal:
            flags.DEFINE_enum(field.name, None, list(typing.get_args(field.type)), text)
        elif field.type is bool:
            flags.DEFINE_bool(field.name, None, text)
        elif field.type is int:
            flags.DEFINE_integer(field.name, None, text, **options)
        elif field.type is float:
            flags.DEFINE_float(field.name, None, text, **options)
        else:
            flags.DEFINE_string(field.name, None, text)
    flags.DEFINE_string("row", next(iter(paper.rows)), f"one of {', '.join(paper.rows)}")
    flags.DEFINE_bool("table", False, "run every row, then draw tables and figures")
    flags.DEFINE_bool("describe", False, "print parameters, FLOPs and bytes; train nothing")
    flags.DEFINE_bool("json", False, "print --describe as JSON")
    flags.DEFINE_bool("resume", False, "continue interrupted runs from their checkpoints")
    flags.DEFINE_string(
        "run_dir", None, "checkpoints and logs; runs/EXPERIMENT/DATA-SCALE if unset"
    )
    flags.DEFINE_string("results_dir", None, "where results go; RUN_DIR/results if unset")
    flags.DEFINE_bool("progress", True, "show progress bars")
    flags.DEFINE_bool("debug", False, "show where an error came from")


def _main(paper: Paper, argv: Sequence[str]) -> None:
    logging.getLogger().setLevel(logging.INFO)
    for noisy in ("absl", "jax", "orbax"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        if len(argv) > 1:
            raise ValueError(f"not a flag: {' '.join(argv[1:])}")
        _run(paper)
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        if flags.FLAGS.debug:
            raise
        _fail(error)


def _run(paper: Paper) -> None:
    values = flags.FLAGS
    names = [field.name for field in dataclasses.fields(paper.config)]
    given = {name: getattr(values, name) for name in names if values[name].present}
    rows = list(paper.rows) if values.table else [values.row]
    configs = {row: resolve(paper, row, given) for row in rows}
    if values.describe:
        for row, config in configs.items():
            about = describe(paper, row, config)
            print(json.dumps(about) if values.json else _readable(about))
        return
    config = configs[rows[0]]
    # A resumed run, and the rows after the first, find their programs compiled.
    jax.config.update("jax_compilation_cache_dir", str(Path("runs/compiled").absolute()))
    run_dir = Path(values.run_dir or f"runs/{paper.name}/{config.data}-{config.scale}")
    results_dir = Path(values.results_dir or run_dir / "results")
    for row, config in configs.items():
        run_row(
            paper,
            row,
            config,
            run_dir=run_dir,
            results_dir=results_dir,
            resume=values.resume,
            progress=values.progress,
        )
    paper.report(results_dir)


def _readable(about: dict[str, Any]) -> str:
    lines = [f"{about['experiment']} {about['row']} at scale {about['scale']}"]
    lines += [
        f"  {about['weights']:>15,} weights, and {about['biases']:,} biases",
        f"  {about['matmul_flops_per_step']:>15,.3g} FLOPs of matrix products a step",
        f"  {about['state_bytes']:>15,} bytes of parameters and optimizer state",
        f"  the largest batch: {about['batch']}",
        f"  in the paper: {about['paper']}",
    ]
    return "\n".join(lines)
