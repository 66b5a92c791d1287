"""The command line of every experiment: its flags, its help, its runs and its errors."""

import errno
import functools
import json
import logging
import re
import shlex
import signal
import sys
import textwrap
import typing
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn

import jax
from absl import app, flags

from attn_research.training import processes
from attn_research.training.signals import Interrupted, Signals
from experiments.harness.config import Config
from experiments.harness.describe import describe, readable, simulate_mesh
from experiments.harness.given import check_given
from experiments.harness.machine import cache_programs, divide_cpu
from experiments.harness.paper import Paper, Resolved, nearest, trace
from experiments.harness.path_flags import define_path
from experiments.harness.runner import make_place, prepare, run_row
from experiments.harness.starting import check_start
from experiments.harness.summary import summary

# (name, kind, default, help) of the flags that say what to run; those of a config come beside them.
_RUN_FLAGS = (
    ("row", "string", None, "Row of the paper's table, or several with commas."),
    ("table", "bool", False, "Run every row, then write the tables and figures."),
    ("describe", "bool", False, "Print parameters, FLOPs, bytes and every value; train nothing."),
    ("json", "bool", False, "Print --describe as JSON."),
    ("resume", "bool", False, "Continue interrupted runs from their checkpoints."),
    ("run_dir", "path", None, "Folder of checkpoints and logs; unset, runs/PAPER/DATA-SCALE."),
    ("results_dir", "path", None, "Folder of results; unset, RUN_DIR/results."),
    ("progress", "bool", True, "Show progress: a bar on a terminal, elsewhere a line at times."),
    ("coordinator", "string", None, "HOST:PORT of the first of several processes."),
    ("num_processes", "integer", None, "Number of processes that train together."),
    ("process_id", "integer", None, "Number of this process, counted from 0."),
    ("cluster", "bool", False, "Train with the processes that Slurm, MPI or a TPU pod started."),
    ("debug", "bool", False, "Show where an error came from."),
)


def main(paper: Paper, find: Callable[[str], Paper] | None = None) -> None:
    """Parses flags and runs one row, the whole table, or `--describe`. Bad input is one line.

    `find` gives other papers by name, for --init_from.
    """
    define_flags(paper)
    app.run(functools.partial(_main, paper, find), flags_parser=functools.partial(_parse, paper))


def _parse(paper: Paper, argv: Sequence[str]) -> list[str]:
    asked = [word for word in argv if word in ("-h", "--help", "-help", "--helpfull")]
    rest = parse_flags([word for word in argv if word not in asked])
    if asked:
        try:
            print(help_text(paper, resolve_rows(paper)))
        except ValueError as error:
            fail(error)
        sys.exit(0)
    return rest


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses flags; a bad one is a line that names it and the nearest good one."""
    try:
        return flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        names = list(flags.FLAGS)
        fail(
            ValueError(f"no flag --{error.flagname}{nearest(error.flagname, names)}; --help lists")
        )
    except flags.Error as error:
        found = re.search(r"value should be one of <(.*)>", str(error))
        given = re.search(r"flag --\w+=(.*?):", str(error))
        hint = nearest(given[1], found[1].split("|")) if found and given else ""
        fail(ValueError(f"{error}{hint}"))


def quiet_libraries() -> None:
    """Leaves what libraries log of their own work out of the output."""
    logging.getLogger().setLevel(logging.INFO)
    for noisy, level in (("absl", "ERROR"), ("jax", "WARNING"), ("orbax", "WARNING")):
        logging.getLogger(noisy).setLevel(level)


def fail(error: Exception) -> NoReturn:
    """Ends the program with one line that says what is wrong."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        text += ": free space there, or name another --run_dir"
    print(f"error: {text}", file=sys.stderr)
    sys.exit(1)


@contextmanager
def one_line_errors(argv: Sequence[str]) -> Generator[None]:
    """The body of a program: bad input ends it with one line, with --debug as it was raised.

    `argv` is what flags left; a word besides the program's name is bad input.
    """
    quiet_libraries()
    try:
        if len(argv) > 1:
            raise ValueError(f"not a flag: {' '.join(argv[1:])}")
        yield
    except (ValueError, OSError, ImportError, ArithmeticError, NotImplementedError) as error:
        if flags.FLAGS.debug:
            raise
        fail(error)
    except jax.errors.JaxRuntimeError as error:
        if flags.FLAGS.debug or "out of memory" not in str(error).lower():
            raise
        fail(
            ValueError(
                f"the device has too little memory ({str(error).splitlines()[0]}): give a smaller "
                "batch, more --num_microbatches or --remat=all; --describe counts bytes"
            )
        )


def define_flags(paper: Paper) -> None:
    """Defines the flags of a paper: the values of its config, and what to run."""
    for _, field in paper.config.fields():
        text = field.metadata["help"]
        bounds = field.metadata["minimum"], field.metadata["maximum"]
        options = dict(zip(("lower_bound", "upper_bound"), bounds, strict=True))
        if typing.get_origin(field.type) is Literal:
            flags.DEFINE_enum(field.name, None, list(typing.get_args(field.type)), text)
        elif field.type is bool:
            flags.DEFINE_bool(field.name, None, text)
        elif field.type is int:
            flags.DEFINE_integer(field.name, None, text, **options)
        elif field.type is float:
            flags.DEFINE_float(field.name, None, text, **options)
        elif field.metadata["path"]:
            define_path(field.name, None, text)
        else:
            flags.DEFINE_string(field.name, None, text)
    for name, kind, default, text in _RUN_FLAGS:
        define = define_path if kind == "path" else getattr(flags, f"DEFINE_{kind}")
        define(name, default, text)


def help_text(paper: Paper, rows: dict[str, Resolved]) -> str:
    """The flags of a paper by part, with their defaults at the row and scale at hand."""
    row, (config, layers) = next(iter(rows.items()))
    lines = [paper.title, "", f"Usage: python -m experiments.{paper.name} [--flag=value ...]", ""]
    lines += ["What to run:"]
    lines += [_flag_line(name, text, default) for name, _, default, text in _RUN_FLAGS]
    lines += [textwrap.fill(
        f"Rows: {', '.join(paper.rows)}; {paper.default_row} unless --row or --table is given.",
        100, initial_indent="  ", subsequent_indent="      ",
    )]  # fmt: skip
    lines += [f"  Scale {name}: {each.time}." for name, each in paper.scales.items() if each.time]
    lines += ["", f"Values below are those of row {row} at scale {config.train.scale}."]
    last = None
    for part, field in config.fields():
        if part is not last:
            lines += ["", f"{type(part).__doc__.splitlines()[0]}"]
            last = part
        choices = typing.get_args(field.type) if typing.get_origin(field.type) is Literal else ()
        text = field.metadata["help"] + (f" One of {', '.join(choices)}." if choices else "")
        origin = "" if layers[field.name] == "default" else f", by {layers[field.name]}"
        lines.append(_flag_line(field.name, text, getattr(part, field.name), origin))
    return "\n".join(lines)


def _flag_line(name: str, text: str, default: Any, origin: str = "") -> str:
    shown = "" if default in (None, "") else f" ({json.dumps(default)}{origin})"
    return textwrap.fill(
        f"--{name}: {text}{shown}", 100, initial_indent="  ", subsequent_indent="      "
    )


def _main(paper: Paper, find: Callable[[str], Paper] | None, argv: Sequence[str]) -> None:
    with processes.exit_on_error(), one_line_errors(argv):
        try:
            _run(paper, find)
        except (Interrupted, KeyboardInterrupt) as end:
            end = end if isinstance(end, Interrupted) else Interrupted(signal.SIGINT)
            saved = "" if end.step is None else f" after step {end.step}, which is saved"
            print(f"interrupted{saved}; to continue: {_resume_command(paper)}", file=sys.stderr)
            sys.exit(end.exit_code)


def _resume_command(paper: Paper) -> str:
    """This command, continuing what it began."""
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--noresume")]
    return shlex.join(["python", "-m", f"experiments.{paper.name}", *words, "--resume"])


def given_values(config: Config) -> dict[str, Any]:
    """The values of a config that flags gave."""
    names = [field.name for _, field in config.fields()]
    return {name: getattr(flags.FLAGS, name) for name in names if flags.FLAGS[name].present}


def resolve_rows(paper: Paper) -> dict[str, Resolved]:
    """The rows that the flags name, each with its config."""
    return {row: trace(paper, row, given_values(paper.config)) for row in _named_rows(paper)}


def _named_rows(paper: Paper) -> list[str]:
    values = flags.FLAGS
    if values.table and values.row:
        raise ValueError(f"--row={values.row} has no effect with --table: give one of them")
    every = values.table or (values.describe and not values.row)
    return list(paper.rows) if every else (values.row or paper.default_row).split(",")


def chosen_folders(paper: Paper, config: Config) -> tuple[Path, Path]:
    """The folders of runs and of results that the flags name, or those of the data and scale."""
    place = "-".join(filter(None, (config.data, config.train.scale)))
    run_dir = Path(flags.FLAGS.run_dir or f"runs/{paper.name}/{place}")
    return run_dir, Path(flags.FLAGS.results_dir or run_dir / "results")


def _run(paper: Paper, find: Callable[[str], Paper] | None) -> None:
    values, given = flags.FLAGS, given_values(paper.config)
    if values.describe:
        _describe(paper, given)
        return
    rows = resolve_rows(paper)
    first = next(iter(rows.values())).config
    if values.json:
        raise ValueError("--json has no effect without --describe: give both, or neither")
    together = [values.coordinator, values.num_processes, values.process_id]
    if values.cluster or any(x is not None for x in together):
        if len(rows) > 1:
            raise ValueError("several processes train one row together: give one --row")
        processes.initialize(*together)
    divide_cpu(first)
    cache_programs()
    if first.train.scale == "tiny":  # which compiles much and computes little
        jax.config.update("jax_disable_most_optimizations", True)
    run_dir, results_dir = chosen_folders(paper, first)
    where = {"given": given, "run_dir": run_dir, "results_dir": results_dir}
    if len(rows) > 1:  # what is wrong with the last is said before the first is trained
        for row, (config, _) in rows.items():
            prepare(
                paper, row, config, given=given, resume=values.resume,
                place=make_place(paper, row, config, **where),
            )  # fmt: skip
    _announce(paper, first, len(rows))
    with Signals() as signals:
        for row, (config, _) in rows.items():
            run_row(
                paper, row, config, **where, resume=values.resume, progress=values.progress,
                find=find, signals=signals, prepared=len(rows) > 1,
            )  # fmt: skip
    if processes.is_primary():
        paper.report(results_dir, paper)
        print(summary(paper, rows, given, run_dir=run_dir, results_dir=results_dir))


def _describe(paper: Paper, given: dict[str, Any]) -> None:
    """Prints the description of each row; of several, also why one cannot be had."""
    values, errors, rows = flags.FLAGS, [], _named_rows(paper)
    execution = paper.config.replace(**given).execution
    if execution.mesh and execution.placement != "jit":
        simulate_mesh(execution.mesh)
    for row in rows:
        try:
            resolved = trace(paper, row, given)
            if start := resolved.config.train.init_from:
                check_start(start)
            check_given(paper, row, given)
            about = describe(paper, row, resolved)
            print(json.dumps(about) if values.json else readable(about))
        except (ValueError, NotImplementedError) as error:
            errors.append(error)
            if len(errors) == len(rows):
                raise
            about = {"experiment": paper.name, "row": row, "error": str(error)}
            print(json.dumps(about) if values.json else f"{paper.name} {row}: {error}")


def _announce(paper: Paper, config: Config, count: int) -> None:
    """Says how long the scale takes, where the paper says it."""
    scale = paper.scales.get(config.train.scale)
    if scale is not None and scale.time:
        rows = "" if count == 1 else f", {count} rows"
        logging.info("scale %s: %s%s", config.train.scale, scale.time, rows)
