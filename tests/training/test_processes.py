"""What processes that cannot meet are told; tests/experiments/test_processes.py has them train."""

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
def test_processes_that_cannot_meet_are_told_why(given, message):
    with pytest.raises(ValueError, match=message):
        processes.meet(*given)


def test_one_process_leads_and_waits_for_none():
    assert processes.leads() and not processes.met()
    assert processes.from_leader({"x": 1}) == {"x": 1}
    processes.part()
