"""Runs continued on other devices and with other numbers of processes, by the command line."""

import os
import re
import signal
import subprocess
import sys

import jax
import pytest

from attn_research.training.checkpoints import Checkpoints, digest
from experiments.benchmarks.invariance import TOLERANCE, distance, free_address
from experiments.harness.paper import resolve
from experiments.harness.program import make_program
from experiments.vit2020.paper import PAPER

NUM_STEPS = 15
# SGD, as in the invariance table: it passes a difference on as it is.
FLAGS = {"scale": "tiny", "optimizer": "sgd", "schedule": "constant", "learning_rate": 0.02}
FLAGS |= {"num_steps": NUM_STEPS, "eval_every": NUM_STEPS, "save_every": 5}
# The command line, in a process that dies while the checkpoint of a step gets its name.
PROGRAM = """
import os, pathlib, signal, sys
from experiments.papers import main
from experiments.vit2020.paper import PAPER

rename, last = os.rename, sys.argv.pop(1)

def rename_or_die(source, target, **options):
    if pathlib.Path(target).name == last:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target, **options)

os.rename = rename_or_die
main(PAPER)
"""


def start(folder, num_devices, *words, until="never"):
    command = [sys.executable, "-c", PROGRAM, until, "--resume", "--noprogress"]
    command += [f"--{name}={value}" for name, value in FLAGS.items()]
    command += [f"--run_dir={folder}", *words]
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_", "JAX_"))}
    environ |= {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
    }
    return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)


def finish(process, code=0):
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    return errors


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """The states at the ends of runs, whole or killed in between, and the start of all."""
    names = ("whole", "same", "other", "four")
    folders = {name: tmp_path_factory.mktemp(name) for name in names}
    mesh = ["--placement=sharded", "--mesh=data=2,fsdp=2"]
    two = [f"--coordinator={free_address()}", "--num_processes=2"]
    leader, follower = (
        start(folders["other"], 2, *mesh, *two, f"--process_id={i}", until="10") for i in range(2)
    )
    whole = start(folders["whole"], 4, *mesh)
    same = start(folders["same"], 4, *mesh, until="10")
    finish(leader, -signal.SIGKILL)
    # The other one stops by itself, at the watch of processes or in the sum that it waits for.
    _, errors = follower.communicate(timeout=60)
    assert follower.returncode
    assert re.search("ended, and so does this|another task died|terminate called", errors)
    other = start(folders["other"], 2, "--placement=pmap", until="15")
    finish(same, -signal.SIGKILL)
    same = start(folders["same"], 4, *mesh)
    assert "continues from step 5" in finish(other, -signal.SIGKILL)
    other = start(folders["other"], 1)
    assert "continues from step 10" in finish(other)
    assert "continues from step 5" in finish(same)
    finish(whole)
    address = [f"--coordinator={free_address()}", "--num_processes=4", "--placement=pmap"]
    four = [start(folders["four"], 1, *address, f"--process_id={i}") for i in range(4)]
    for process in four:
        finish(process)
    assert (folders["four"] / "results" / "small.seed0.json").is_file()

    config = resolve(PAPER, "small", FLAGS)
    begin = jax.jit(make_program(PAPER, config).initial_state)(jax.random.key(config.train.seed))
    found = {"begin": begin}
    for name, folder in folders.items():
        kept = Checkpoints(folder / "small.seed0" / "checkpoints", config.identity())
        step, found[name], _ = kept.restore(begin)
        kept.close()
        assert step == NUM_STEPS
    return found


def test_resume_on_the_same_mesh_is_bitwise_equal(ends):
    assert digest(ends["same"]) == digest(ends["whole"])


def test_resume_on_other_devices_and_processes_gives_the_same_parameters(ends):
    found, expected, begin = (ends[name].params for name in ("other", "whole", "begin"))
    assert distance(found, expected, begin) < TOLERANCE


def test_four_processes_give_the_parameters_of_one(ends):
    found, expected, begin = (ends[name].params for name in ("four", "whole", "begin"))
    assert distance(found, expected, begin) < TOLERANCE
