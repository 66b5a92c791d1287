"""Signals: the first ends a program in order, the second at once."""

import os
import signal
import subprocess
import sys
import time

import pytest

from attn_research.training.signals import Interrupted, Signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_work_where_it_is(number, code):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught, Signals():
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert caught.value.exit_code == code
    assert signal.getsignal(number) is before


def test_a_deferred_signal_is_noticed_and_raised_at_the_end():
    done = []
    with pytest.raises(Interrupted), Signals() as signals:
        with signals.deferred():
            assert signals.received is None
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            assert signals.received == signal.SIGINT
            done.append("work")
        done.append("more")
    assert done == ["work"]


def test_a_second_signal_ends_the_process_at_once():
    code = """
import os, signal, time
from attn_research.training.signals import Signals

with Signals() as signals, signals.deferred():
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
    time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=50)
    assert done.returncode == 143
