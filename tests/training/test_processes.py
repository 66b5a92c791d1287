"""Errors of processes that cannot connect; tests/experiments/test_processes.py trains with some."""

import os
import socket
import subprocess
import sys

import pytest

from attn_research.training import processes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, 2, None), "give all three, or --cluster"),
        (("localhost:1", 2, 2), "--process_id=2: with --num_processes=2 it is one of 0 to 1"),
        (("localhost", 2, 0), "HOST:PORT"),
    ],
)
def test_a_failed_connection_reports_the_reason(given, message):
    with pytest.raises(ValueError, match=message):
        processes.initialize(*given)


def test_a_single_process_is_primary_and_does_not_wait():
    assert processes.is_primary() and not processes.is_initialized()
    assert processes.broadcast_from_primary({"x": 1}) == {"x": 1}
    processes.shutdown()


MEMBER = """
import sys, time
from attn_research.training import processes

address, process = sys.argv[1:]
processes.initialize(address, 2, int(process))
print("connected", flush=True)
if process == "0":
    time.sleep(60)
sys.stdin.read()
"""


def test_where_one_process_dies_the_other_stops_with_a_message():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environ = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-c", MEMBER, address]
    first, second = (
        subprocess.Popen([*command, str(i)], env=environ, text=True, **pipe) for i in range(2)
    )
    try:
        for each in (first, second):
            assert "connected\n" in iter(each.stdout.readline, "")
        second.kill()
        _, errors = first.communicate(timeout=30)
    finally:
        for each in (first, second):
            each.kill()
            each.communicate()
    assert first.returncode == 1
    assert errors.splitlines()[-1].startswith("error: process 1 of this run ended, and so does")
