"""Errors of processes that cannot connect; tests/experiments/test_processes.py trains with some."""

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
