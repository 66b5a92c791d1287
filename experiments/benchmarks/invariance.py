"""Equality of trained parameters across placements.

python -m experiments.benchmarks.invariance --output=experiments/results/benchmarks

Three models take the same 20 steps, with dropout, under each setup in SETUPS, on simulated CPU
devices. "distance" is ‖θ - θ'‖ / ‖θ' - θ_0‖; θ' is the result of one device with whole batches and
θ_0 the start. The test uses SGD. Adam is reported too, but it amplifies rounding where gradients
are near 0. One setup is deliberately wrong: the mean of per-device means, where devices hold
different numbers of words. It must differ.
"""

import dataclasses
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from attn_research.data.files import write_whole
from attn_research.training.pmapped import Pmapped
from attn_research.training.step import make_gradients
from attn_research.types import PyTree
from attn_research.viewing.tables import Cell, Column, Table, to_dict, to_markdown
from experiments.bahdanau2014.paper import PAPER as BAHDANAU
from experiments.harness import results
from experiments.harness.paper import resolve
from experiments.harness.path_flags import define_path
from experiments.harness.program import make_program
from experiments.vaswani2017.paper import PAPER as VASWANI
from experiments.vit2020.paper import PAPER as VIT

# Smaller distances come from the order of summation. Measured distances are below 1e-6, those of
# the ViT below 1e-5; those of the wrong setup are above 8e-3.
TOLERANCE = 3e-5
SGD = {"optimizer": "sgd", "schedule": "constant"}
MODELS = {
    "RNNsearch": (
        BAHDANAU,
        "RNNsearch-50",
        {"annotation_dropout": 0.2, "output_dropout": 0.2},
        SGD | {"learning_rate": 0.5},
    ),
    "Transformer": (VASWANI, "base", {}, SGD | {"learning_rate": 0.5}),
    "ViT": (
        VIT,
        "small",
        {"data": "digits", "dropout": 0.1},
        SGD | {"learning_rate": 0.02},
    ),
}
# Setups by name: values of the config, and the number of processes.
SETUPS = {
    "one device": ({}, 1),
    "2 microbatches": ({"num_microbatches": 2}, 1),
    "8 microbatches": ({"num_microbatches": 8}, 1),
    "remat all": ({"remat": "all"}, 1),
    "remat dots": ({"remat": "dots"}, 1),
    "pmap 2": ({"placement": "pmap", "mesh": "data=2"}, 1),
    "pmap 8": ({"placement": "pmap", "mesh": "data=8"}, 1),
    "pmap 4, 2 microbatches": (
        {"placement": "pmap", "mesh": "data=4", "num_microbatches": 2},
        1,
    ),
    "data=2": ({"placement": "sharded", "mesh": "data=2"}, 1),
    "data=3, empty rows": ({"placement": "sharded", "mesh": "data=3"}, 1),
    "data=4": ({"placement": "sharded", "mesh": "data=4"}, 1),
    "data=8": ({"placement": "sharded", "mesh": "data=8"}, 1),
    "fsdp=4": ({"placement": "sharded", "mesh": "fsdp=4,data=1"}, 1),
    "tensor=4": ({"placement": "sharded", "mesh": "tensor=4,data=1"}, 1),
    "data=2,fsdp=2,tensor=2": ({"placement": "sharded", "mesh": "data=2,fsdp=2,tensor=2"}, 1),
    "data=4,fsdp=2, 2 microbatches, remat all": (
        {"placement": "sharded", "mesh": "data=4,fsdp=2", "num_microbatches": 2, "remat": "all"},
        1,
    ),
    "4 processes, pmap 8": ({"placement": "pmap", "mesh": "data=8"}, 4),
    "4 processes, data=8": ({"placement": "sharded", "mesh": "data=8"}, 4),
    "4 processes, data=2,fsdp=4": ({"placement": "sharded", "mesh": "data=2,fsdp=4"}, 4),
}
WRONG = "mean of means, pmap 8"
NUM_STEPS, NUM_DEVICES = 20, 8


@dataclasses.dataclass(frozen=True)
class MeanOfMeans(Pmapped):
    """Deliberately wrong: the mean of gradients that each device divided by its own weight."""

    def _gradients(self, loss, trainable):
        of_share = make_gradients(
            loss, num_microbatches=self.num_microbatches, axes=("data",), trainable=trainable
        )

        def gradients(params, batch, key):
            gradient, sums = of_share(params, batch, key)
            mean = jax.tree.map(lambda x: x / sums.weight, gradient)
            total = jax.lax.psum(sums, "data")
            mean = jax.lax.pmean(mean, "data")
            return jax.tree.map(lambda x: x * total.weight, mean), total

        return gradients


def train(
    model: str, setup: dict[str, Any], optimizer: dict[str, Any], wrong: bool = False
) -> tuple[PyTree, PyTree]:
    """The gathered parameters before and after the steps."""
    paper, row, settings, _ = MODELS[model]
    given = {"scale": "tiny", "num_steps": NUM_STEPS} | settings | optimizer | setup
    config = resolve(paper, row, given)
    program = make_program(paper, config, paper.task(config).load())
    placement, key = program.placement, jax.random.key(config.train.seed)
    if wrong:
        placement = MeanOfMeans(placement.num_devices)
    state = jax.jit(program.initial_state)(key)
    start = jax.tree.map(np.asarray, state.params)
    step = placement.compile(program.loss, program.optimizer, key, state)
    state = placement.shard_state(state)
    batches = program.task.train_batches(0, placement.rows)
    for batch in itertools.islice(batches, NUM_STEPS):
        state, _ = step(state, placement.shard_batch(batch))
    return start, jax.tree.map(np.asarray, placement.gather(state.params))


def distance(found: PyTree, expected: PyTree, start: PyTree) -> float:
    """‖found - expected‖ / ‖expected - start‖."""

    def norm(a, b):
        pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        return np.sqrt(sum(np.square(x.astype(float) - y).sum() for x, y in pairs))

    return float(norm(found, expected) / norm(expected, start))


def measure(models: Sequence[str], num_processes: int, folder: Path) -> list[dict[str, Any]]:
    """One line per model and setup with that many processes.

    The single-device parameters are in `folder`, written there by the call for one process.
    """
    lines = []
    for model in models:
        kinds = {"SGD": MODELS[model][3], "Adam": {}}
        expected = {}
        for kind, settings in kinds.items():
            path = folder / f"{model}.{kind}.npz"
            if num_processes == 1:
                start, end = train(model, {}, settings)
                np.savez(path, *jax.tree.leaves(start), *jax.tree.leaves(end))
            kept = list(np.load(path).values())
            expected[kind] = kept[len(kept) // 2 :], kept[: len(kept) // 2]
        setups = {name: setup for name, (setup, count) in SETUPS.items() if count == num_processes}
        if num_processes == 1 and model != "ViT":  # its devices hold equal numbers of images
            setups[WRONG] = {"placement": "pmap", "mesh": "data=8"}
        for name, setup in setups.items():
            found = {}
            for kind, settings in kinds.items():
                _, end = train(model, setup, settings, wrong=name == WRONG)
                found[kind] = distance(end, *expected[kind])
            line = {"model": model, "setup": name, **found, "equal": found["SGD"] < TOLERANCE}
            if jax.process_index() == 0:
                print(json.dumps(line), flush=True)
            lines.append(line)
    return lines


def free_address() -> str:
    """A free HOST:PORT of this machine."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def _spawn(models: Sequence[str], num_processes: int, folder: Path) -> list[dict[str, Any]]:
    """The lines of `measure`, run in processes that share the devices."""
    each = NUM_DEVICES // num_processes
    address = free_address()
    count_flag = f"--xla_force_host_platform_device_count={each}"
    environ = os.environ | {"XLA_FLAGS": count_flag, "JAX_PLATFORMS": "cpu"}
    processes = []
    for process in range(num_processes):
        words = [f"--models={','.join(models)}", f"--processes={num_processes}"]
        words += [f"--process={process}", f"--folder={folder}", f"--address={address}"]
        command = [sys.executable, "-m", "experiments.benchmarks.invariance", *words]
        processes.append(subprocess.Popen(command, env=environ))
    if any([process.wait() for process in processes]):
        raise RuntimeError(f"a process of {num_processes} failed: see above")
    return json.loads((folder / f"{num_processes}.json").read_bytes())


def _table(lines: list[dict[str, Any]]) -> Table:
    columns = [Column("model", ""), Column("setup", ""), Column("distance, SGD", ".1e")]
    columns += [Column("distance, Adam", ".1e"), Column("equal", "")]
    rows = [
        {
            "model": line["model"],
            "setup": line["setup"],
            "distance, SGD": Cell(line["SGD"]),
            "distance, Adam": Cell(line["Adam"]),
            "equal": "yes" if line["equal"] else "NO",
        }
        for line in lines
    ]
    return Table(columns, rows)


def main(argv: Sequence[str]) -> None:
    del argv
    values = flags.FLAGS
    models = values.models.split(",")
    if values.processes:  # a process of `_spawn`
        if values.processes > 1:
            jax.distributed.initialize(values.address, values.processes, values.process)
        folder = Path(values.folder)
        lines = measure(models, values.processes, folder)
        if values.process == 0:
            write_whole(folder / f"{values.processes}.json", json.dumps(lines).encode())
        return
    if values.output and models != list(MODELS):
        sys.exit("error: --output keeps the table of all models: give no --models with it")
    with tempfile.TemporaryDirectory() as folder:
        lines = _spawn(models, 1, Path(folder)) + _spawn(models, 4, Path(folder))
    lines.sort(key=lambda line: models.index(line["model"]))
    bad = [line for line in lines if line["equal"] != (line["setup"] != WRONG)]
    table = _table(lines)
    text = (
        "# Equality of parameters across placements\n\n"
        f"`python -m experiments.benchmarks.invariance`; {NUM_STEPS} steps at scale tiny, "
        f"{NUM_DEVICES} simulated CPU devices; equal: a distance below {TOLERANCE:.0e} with SGD. "
        f"The setup {WRONG!r} is deliberately wrong.\n\n{to_markdown(table)}"
    )
    print(text)
    if values.output:
        found = {
            "command": "python -m experiments.benchmarks.invariance",
            "table": to_dict(table),
            "environment": results.environment(),
        }
        write_whole(Path(values.output) / "invariance.md", text.encode())
        write_whole(Path(values.output) / "invariance.json", json.dumps(found, indent=1).encode())
    if bad:
        sys.exit(f"error: equal where it must differ, or different where it must be equal: {bad}")


if __name__ == "__main__":
    flags.DEFINE_string("models", ",".join(MODELS), "Models to train, with commas.")
    define_path("output", "", "Folder for invariance.md and invariance.json.")
    flags.DEFINE_integer("processes", 0, "Internal: number of processes that train together.")
    flags.DEFINE_integer("process", 0, "Internal: number of this process.")
    define_path("folder", "", "Internal: folder that the processes share.")
    flags.DEFINE_string("address", "", "Internal: HOST:PORT of the coordinator.")
    app.run(main)
