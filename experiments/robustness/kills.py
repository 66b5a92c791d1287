"""Runs that are killed at random moments and resumed, each of which must end as an unkilled one.

python -m experiments.robustness.kills --kills=100

A small run saves after every step. It is killed (SIGKILL), resumed by the same command, killed
again, until it ends; then the next run begins. About half of the kills fall into the writing of a
checkpoint, the others anywhere from the start of a process to its end. Parameters, optimizer, best
parameters, measurements, predictions and result have to be those of the unkilled run to the bit.
"""

import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

from attn_research.training.checkpoints import Checkpoints, digest
from experiments.harness.flags import quiet_libraries
from experiments.harness.paper import resolve
from experiments.harness.path_flags import define_path
from experiments.harness.program import make_program
from experiments.harness.runner import run_row
from experiments.vit2020.paper import PAPER

ROW = "small"
GIVEN = {"scale": "tiny", "num_steps": 6, "save_every": 1, "eval_every": 2, "average": 2}
GIVEN |= {"num_layers": 1, "model_dim": 8, "mlp_dim": 8, "batch_size": 8, "pooling": "mean"}
LIMIT = 300.0  # seconds that a process may take


def train(folder: Path) -> None:
    """The command that is killed: it begins, continues or finishes the run in a folder."""
    config = resolve(PAPER, ROW, GIVEN)
    runs, results = folder / "runs", folder / "results"
    path = run_row(
        PAPER, ROW, config, given=GIVEN, run_dir=runs, results_dir=results, resume=True,
        progress=False,
    )  # fmt: skip
    PAPER.report(results, PAPER)
    (folder / "end.json").write_text(json.dumps(_end(runs / path.stem, path), indent=1))


def _end(folder: Path, path: Path) -> dict[str, Any]:
    """All that a run left, but for times."""
    config = resolve(PAPER, ROW, GIVEN)
    like = make_program(PAPER, config).state_shapes()
    found = {}
    for name, shapes in {"checkpoints": like, "best": like.params}.items():
        kept = Checkpoints(folder / name, config.identity(), read_only=True)
        step, tree, _ = kept.restore(shapes)
        found[name] = [step, digest(tree), kept.steps()]
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    found["measurements"] = [
        {name: x for name, x in line.items() if not name.endswith("_per_second")} for line in lines
    ]
    result = json.loads(path.read_bytes())
    found["result"] = {name: x for name, x in result.items() if name != "seconds"}
    files = [folder / "run.json", *(folder / "task").iterdir(), *path.with_suffix("").iterdir()]
    found["files"] = {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest()
        for each in sorted(files)
        if not each.name.startswith(".")  # what a killed write began
    }
    return found


def fork(folder: Path) -> int:
    """Starts `train` in a process of its own; what it says goes to a log in the folder.

    A fork has imported everything and read the data already. This process never uses a device, so
    that it has no threads that a fork would lack.
    """
    folder.mkdir(parents=True, exist_ok=True)
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        train(folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(process: int, until: Callable[[], bool] = lambda: False) -> int | None:
    """The exit status of a process, or None where `until` came true before its end."""
    deadline = time.monotonic() + LIMIT
    while not until():
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            raise TimeoutError(f"a run took more than {LIMIT:.0f} seconds")
        time.sleep(0.001)
    return None


def moment(folder: Path, seconds: float, rng: random.Random) -> Callable[[], bool]:
    """When to kill: at any time, or while some checkpoint is being written."""
    if rng.random() < 0.5:
        at = time.monotonic() + rng.uniform(0, seconds)
        return lambda: time.monotonic() > at
    place = folder / "runs"
    name = rng.choice(["checkpoints", "best"])
    seen, wanted, delay = set(), rng.randint(1, GIVEN["num_steps"]), rng.uniform(0, 0.03)
    before = {path for path in place.glob(f"*/{name}/*")}
    at = [float("inf")]

    def due() -> bool:
        if len(seen) < wanted:
            new = {p.name.split(".")[0] for p in place.glob(f"*/{name}/*") if p not in before}
            seen.update(new)
            if len(seen) >= wanted:
                at[0] = time.monotonic() + delay
        return time.monotonic() > at[0]

    return due


def where(folder: Path) -> str:
    """What a process was doing when it was killed, by what it left."""
    begun = [path for path in folder.rglob("*") if "orbax-checkpoint-tmp" in path.name]
    if begun:
        return "writing a checkpoint"
    if not list(folder.glob("runs/*/run.json")):
        return "before training"
    if list(folder.glob("results/*.json")):
        return "after the result"
    last = GIVEN["num_steps"]
    if list(folder.glob(f"runs/*/checkpoints/{last}")):
        return "evaluating"
    return "training"


def _differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    return [name for name in expected if found.get(name) != expected[name]]


def check(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kills and resumes runs so many times; what differed is among what it returns."""
    rng = random.Random(seed)
    PAPER.task(resolve(PAPER, ROW, GIVEN)).load()  # which keeps it
    _finish(folder / "warm")  # compiles what the others find compiled
    began = time.monotonic()
    expected = _finish(folder / "whole")
    seconds = time.monotonic() - began
    places, runs, wrong, done = Counter(), 0, {}, 0
    while done < kills:
        place, killed = folder / f"run{runs}", 0
        while done < kills:
            process = fork(place)
            code = wait(process, moment(place, seconds, rng))
            if code is not None:
                _check_code(code, place)
                break
            os.kill(process, signal.SIGKILL)
            if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0:
                break  # it ended first
            done, killed = done + 1, killed + 1
            places[where(place)] += 1
        found = _finish(place)
        if different := _differences(found, expected):
            wrong[place.name] = different
        runs += 1
        print(f"{place.name}: {killed} kills, {different or 'equal to the unkilled run'}")
    return {
        "kills": done, "runs": runs, "seed": seed, "killed": dict(places), "different": wrong,
        "seconds_of_a_run": round(seconds, 1),
    }  # fmt: skip


def _finish(folder: Path) -> dict[str, Any]:
    """Runs the command to its end."""
    _check_code(wait(fork(folder)), folder)
    return json.loads((folder / "end.json").read_bytes())


def _check_code(code: int | None, folder: Path) -> None:
    if code:
        last = (folder / "log.txt").read_text().strip().splitlines()[-1:]
        raise RuntimeError(f"a run did not go on by itself: {''.join(last)} ({folder / 'log.txt'})")


def main(argv: Sequence[str]) -> None:
    del argv
    values = flags.FLAGS
    quiet_libraries()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(values.folder or temporary)
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        found = check(values.kills, values.seed, folder)
    print(json.dumps(found))
    if found["different"]:
        sys.exit("error: killed runs ended otherwise than the unkilled one")


if __name__ == "__main__":
    flags.DEFINE_integer("kills", 100, "how many kills", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "seed of their moments")
    define_path("folder", "", "folder for the runs, which is kept; unset, a temporary one")
    app.run(main)
