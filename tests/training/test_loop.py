"""The loop: the order of hooks, steps and readings, and losses that are not finite."""

import itertools

import jax.numpy as jnp
import pytest

from attn_research.training.loop import Hook, NonFiniteLossError, fit
from attn_research.training.step import Metrics, Sums, TrainState


class Recorder:
    """Notes every event of a run in order; the batch of step n is n, and so is its loss."""

    def __init__(self, losses=None, norms=None):
        self.events, self.losses, self.norms = [], losses or {}, norms or {}

    def batches(self, start=0):
        for n in itertools.count(start):
            self.events.append(f"batch {n}")
            yield n

    def step(self, state, batch):
        number = int(state.step) + 1
        self.events.append(f"step {number}")
        loss, norm = self.losses.get(number, float(batch)), self.norms.get(number, 1.0)
        sums = Sums(jnp.float32(loss), jnp.float32(1), {})
        return TrainState(state.step + 1, None, None), Metrics(sums, jnp.float32(norm))

    def write(self, step, metrics):
        assert metrics.sums.total == step - 1
        self.events.append(f"write {step}")

    def hook(self, name, every):
        return Hook(every, lambda step, state: self.call(name, step, state))

    def call(self, name, step, state):
        assert state.step == step
        self.events.append(f"{name} {step}")


def run(recorder, start, num_steps, *hooks):
    state = TrainState(jnp.int32(start), None, None)
    return fit(
        recorder.step,
        state,
        recorder.batches(start),
        num_steps=num_steps,
        writer=recorder,
        hooks=hooks,
    )


def test_hooks_run_before_a_step_and_after_metrics_are_read():
    recorder = Recorder()
    after = run(recorder, 0, 5, recorder.hook("evaluate", 2), recorder.hook("save", 4))
    assert after.step == 5
    assert recorder.events == [
        *("evaluate 0", "save 0", "batch 0", "step 1"),
        *("batch 1", "step 2", "write 1", "write 2"),
        *("evaluate 2", "batch 2", "step 3"),
        *("batch 3", "step 4", "write 3", "write 4"),
        *("evaluate 4", "save 4", "batch 4", "step 5", "write 5"),
        *("evaluate 5", "save 5"),
    ]


def test_all_metrics_are_read_one_step_late():
    recorder = Recorder()
    run(recorder, 0, 3)
    assert recorder.events == [
        *("batch 0", "step 1"),
        *("batch 1", "step 2", "write 1"),
        *("batch 2", "step 3", "write 2"),
        "write 3",
    ]


def test_a_resumed_run_does_not_repeat_earlier_hooks():
    recorder = Recorder()
    run(recorder, 4, 6, recorder.hook("evaluate", 2))
    events = [event for event in recorder.events if not event.startswith("batch")]
    assert events == ["step 5", "step 6", "write 5", "write 6", "evaluate 6"]


def test_a_run_resumed_at_its_end_does_nothing():
    recorder = Recorder()
    assert run(recorder, 4, 4, recorder.hook("evaluate", 2)).step == 4
    assert recorder.events == []


@pytest.mark.parametrize("wrong", [dict(losses={3: float("nan")}), dict(norms={3: float("inf")})])
@pytest.mark.parametrize("num_steps", [3, 6])
def test_a_non_finite_loss_stops_the_run(wrong, num_steps):
    recorder = Recorder(**wrong)
    with pytest.raises(NonFiniteLossError, match=r"^the loss of step 3 is .*(nan|inf)"):
        run(recorder, 0, num_steps)
    assert "write 2" in recorder.events
    assert "write 3" not in recorder.events
    assert "step 5" not in recorder.events


def test_nothing_is_saved_after_a_non_finite_loss():
    recorder = Recorder(losses={2: float("inf")})
    with pytest.raises(NonFiniteLossError):
        run(recorder, 0, 6, recorder.hook("save", 2))
    assert "save 2" not in recorder.events
