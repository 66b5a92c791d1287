"""One process at a time in a run folder, and a lock that ends with its process."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.harness.lock import LOCK, locked
from tests.experiments.contributing import ROOT

HOLDER = """
import sys
from pathlib import Path
from experiments.harness.lock import locked

with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has the lock of the folder `run`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_second_process_is_told_of_the_first_and_a_killed_one_holds_nothing(tmp_path, holder):
    with pytest.raises(ValueError) as caught, locked(tmp_path / "run"):
        pass
    text = str(caught.value)
    assert f"run is in use by process {holder.pid} on " in text and "\n" not in text
    assert f"stop it (kill {holder.pid}), or name another --run_dir" in text
    holder.kill()
    holder.wait()
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "file").touch()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {LOCK, "file"}


def test_a_run_that_wrote_nothing_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError), locked(tmp_path / "a" / "b"):
        raise RuntimeError("refused")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named():
    folder = Path("/dev/null/run")
    with pytest.raises(OSError, match=r"write to /dev/null/run .*: name another"), locked(folder):
        pass
