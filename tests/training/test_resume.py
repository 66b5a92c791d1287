"""A run that is killed and resumed ends bit for bit where the uninterrupted run ends."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).with_name("interruptible_run.py")
ROOT = pathlib.Path(__file__).parents[2]


def start(folder, when):
    command = [sys.executable, "-W", "error", str(SCRIPT), str(folder), when]
    # One device and no cache of programs: what a user has.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_", "JAX_"))}
    path = os.pathsep.join([str(ROOT), *sys.path])
    environment |= {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process):
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def lines_of(folder):
    """What a run measured, but for how long it took."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("_per_second")} for line in lines]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of a whole run and two killed and resumed ones, and what these had measured."""
    folders = {when: tmp_path_factory.mktemp(when) for when in ("never", "in-step", "in-save")}
    processes = {when: start(folder, when) for when, folder in folders.items()}
    for when, process in processes.items():
        code, errors = finish(process)
        assert code == (0 if when == "never" else -signal.SIGKILL), errors
    measured, resumed = {}, []
    for when in ("in-step", "in-save"):
        assert not (folders[when] / "end.json").exists()
        measured[when] = lines_of(folders[when])
        with (folders[when] / "metrics.jsonl").open("a") as file:
            file.write('{"step": 8, "lo')  # half a line, as a kill can leave
        resumed.append(start(folders[when], "never"))
    for process in resumed:
        code, errors = finish(process)
        assert code == 0, errors
    return folders, measured


@pytest.mark.parametrize("when", ["in-step", "in-save"])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(runs, when):
    folders, measured = runs
    whole, killed = folders["never"], folders[when]
    assert measured[when] == lines_of(whole)[: len(measured[when])]
    assert measured[when][-1]["step"] > 4  # lines that the resumed run measured again
    ends = [json.loads((folder / "end.json").read_text()) for folder in (whole, killed)]
    assert [end["start"] for end in ends] == [0, 4]
    assert ends[0]["digest"] == ends[1]["digest"]
    assert lines_of(killed) == lines_of(whole)
    assert [line["step"] for line in lines_of(whole)] == [2, 4, 6, 8, 10, 12]
    kept = sorted(path.name for path in (killed / "checkpoints").iterdir())
    assert kept == ["12", "8"]  # and nothing half-written
