"""The command line of every experiment: flags from its Config, rows, tables, `--describe`."""

import dataclasses
import errno
import functools
import json
import logging
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import jax
from absl import app, flags

from attn_research.training import processes
from attn_research.training.mesh import mesh_size
from experiments import budget
from experiments.budget import show_bytes
from experiments.paper import Paper, identify, resolve, state_shapes, step_flops
from experiments.running import run_row


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


def describe(paper: Paper, row: str, config: Any) -> dict[str, Any]:
    """Parameters, FLOPs and bytes of a step, from shapes alone."""
    model = paper.make_model(config)
    state = state_shapes(config, model)
    leaves = jax.tree_util.tree_leaves_with_path(state.params)
    sizes = {jax.tree_util.keystr(path, simple=True, separator="/"): x.size for path, x in leaves}
    biases = sum(size for path, size in sizes.items() if path.endswith("bias"))
    nbytes = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    return {
        "experiment": paper.name,
        "row": row,
        "scale": config.scale,
        "parameters": sum(sizes.values()),
        "weights": sum(sizes.values()) - biases,
        "biases": biases,
        "matmul_flops_per_step": step_flops(config, model),
        "state_bytes": nbytes,
        "batch": {name: list(x.shape) for name, x in model.batch.items()},
        **({} if config.placement == "jit" else _on_mesh(paper, config)),
        "paper": paper.rows[row].paper,
        "config": identify(config),
    }


def _on_mesh(paper: Paper, config: Any) -> dict[str, Any]:
    """What the largest step needs of each device of a mesh."""
    found = budget.needs(paper, config)
    return {
        "devices": jax.device_count(),
        "state_bytes_per_device": found.state_bytes,
        "bytes_per_device": found.bytes,
        "collectives": {kind: each._asdict() for kind, each in found.traffic.items()},
    }


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
    flags.DEFINE_string(
        "row", next(iter(paper.rows)), f"one, or more with commas, of {', '.join(paper.rows)}"
    )
    flags.DEFINE_bool("table", False, "run every row, then draw tables and figures")
    flags.DEFINE_bool("describe", False, "print parameters, FLOPs and bytes; train nothing")
    flags.DEFINE_bool("json", False, "print --describe as JSON")
    flags.DEFINE_bool("resume", False, "continue interrupted runs from their checkpoints")
    flags.DEFINE_string(
        "run_dir", None, "checkpoints and logs; runs/EXPERIMENT/DATA-SCALE if unset"
    )
    flags.DEFINE_string("results_dir", None, "where results go; RUN_DIR/results if unset")
    flags.DEFINE_bool("progress", True, "show progress bars")
    flags.DEFINE_string("coordinator", None, "HOST:PORT of the first of several processes")
    flags.DEFINE_integer("num_processes", None, "how many train together", lower_bound=1)
    flags.DEFINE_integer("process_id", None, "which of them this is, from 0 on", lower_bound=0)
    flags.DEFINE_bool("cluster", False, "the processes that Slurm, MPI or a TPU pod started")
    flags.DEFINE_bool("debug", False, "show where an error came from")


def _main(paper: Paper, argv: Sequence[str]) -> None:
    logging.getLogger().setLevel(logging.INFO)
    for noisy in ("absl", "jax", "orbax"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with processes.ended_by_errors():
        try:
            if len(argv) > 1:
                raise ValueError(f"not a flag: {' '.join(argv[1:])}")
            _run(paper)
        except (ValueError, OSError, ImportError, ArithmeticError, NotImplementedError) as error:
            if flags.FLAGS.debug:
                raise
            _fail(error)


def _run(paper: Paper) -> None:
    values = flags.FLAGS
    names = [field.name for field in dataclasses.fields(paper.config)]
    given = {name: getattr(values, name) for name in names if values[name].present}
    every = values.table or (values.describe and not values["row"].present)
    rows = list(paper.rows) if every else values.row.split(",")
    configs = {row: resolve(paper, row, given) for row in rows}
    if values.describe:
        if configs[rows[0]].mesh:
            _pretend(configs[rows[0]].mesh)
        for row, config in configs.items():
            about = describe(paper, row, config)
            print(json.dumps(about) if values.json else _readable(about))
        return
    together = [values.coordinator, values.num_processes, values.process_id]
    if values.cluster or any(x is not None for x in together):
        if len(rows) > 1:
            raise ValueError("several processes train one row together: give one --row")
        processes.meet(*together)
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
            given=given,
            run_dir=run_dir,
            results_dir=results_dir,
            resume=values.resume,
            progress=values.progress,
        )
    if processes.leads():
        paper.report(results_dir)


def _pretend(mesh: str) -> None:
    """Makes as many devices of the CPU as a mesh names, so that it can be described anywhere."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", mesh_size(mesh))


def _readable(about: dict[str, Any]) -> str:
    lines = [f"{about['experiment']} {about['row']} at scale {about['scale']}"]
    lines += [
        f"  {about['weights']:>15,} weights, and {about['biases']:,} biases",
        f"  {about['matmul_flops_per_step']:>15,.3g} FLOPs of products and convolutions a step",
        f"  {about['state_bytes']:>15,} bytes of parameters and optimizer state",
        f"  the largest batch: {about['batch']}",
        f"  in the paper: {about['paper']}",
    ]
    if "devices" in about:
        lines.append(
            f"  on each of {about['devices']} devices {show_bytes(about['bytes_per_device'])}, "
            f"{show_bytes(about['state_bytes_per_device'])} of them state and batch"
        )
        lines += [
            f"  {each['count']:>15,} x {kind}, {show_bytes(each['bytes'])} in all"
            for kind, each in about["collectives"].items()
        ]
    return "\n".join(lines)
