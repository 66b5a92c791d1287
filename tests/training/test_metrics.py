"""metrics.jsonl: means of sums, nothing twice, nothing by halves; and events for TensorBoard."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from attn_research.training import metrics as module
from attn_research.training.metrics import MetricsLog
from attn_research.training.step import Metrics, Sums


def measured(total, weight, norm=1.0, tokens=0.0):
    counts = {"tokens": jnp.float32(tokens)}
    return Metrics(Sums(jnp.float32(total), jnp.float32(weight), counts), jnp.float32(norm))


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def open_log(folder, start=0, num_steps=5, every=2):
    return MetricsLog(folder, start=start, num_steps=num_steps, every=every, progress=False)


@pytest.fixture
def clock(monkeypatch):
    """The time, as the test sets it."""
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def test_a_line_is_the_mean_over_its_steps(tmp_path, clock):
    log = open_log(tmp_path / "run")
    for step, (total, weight, norm) in enumerate(
        [(8, 1, 3), (4, 5, 1), (9, 3, 2), (1, 1, 4), (5, 2, 7)]
    ):
        clock[0] += 2.0
        log.write(step + 1, measured(total, weight, norm, tokens=10 * (step + 1)))
        if step == 2:  # a hook at work for 7 seconds
            with log.paused():
                clock[0] += 7.0
    log.record(5, {"dev_loss": 0.25})
    log.close()
    assert lines_of(tmp_path / "run") == [
        # 12 / 6, not the mean of 8 / 1 and 4 / 5.
        {"step": 2, "loss": 2.0, "gradient_norm": 2.0, "tokens_per_second": 7.5},
        {"step": 4, "loss": 2.5, "gradient_norm": 3.0, "tokens_per_second": 17.5},
        # The last step is written whatever its number.
        {"step": 5, "loss": 2.5, "gradient_norm": 7.0, "tokens_per_second": 25.0},
        {"step": 5, "dev_loss": 0.25},
    ]


def test_a_resumed_run_drops_what_it_will_measure_again(tmp_path):
    lines = [{"step": 2, "loss": 1.0}, {"step": 2, "dev_loss": 3.0}, {"step": 4, "loss": 2.0}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 2, "los')
    log = open_log(tmp_path, start=2)
    assert lines_of(tmp_path) == lines[:2]
    log.write(3, measured(3, 1))
    log.write(4, measured(4, 1))
    log.close()
    assert [line["step"] for line in lines_of(tmp_path)] == [2, 2, 4]
    assert lines_of(tmp_path)[-1]["loss"] == 3.5


def test_steps_without_weight_have_no_loss(tmp_path):
    log = open_log(tmp_path)
    log.write(1, measured(0, 0))
    log.write(2, measured(0, 0))
    log.close()
    assert lines_of(tmp_path)[0]["loss"] == 0.0


def test_events_hold_the_same_numbers(tmp_path):
    log = open_log(tmp_path)
    log.write(1, measured(3, 2))
    log.write(2, measured(4, 2))
    log.close()
    (path,) = tmp_path.glob("events.out.tfevents.*")
    found = {}
    for event in events_in(path.read_bytes()):
        found |= {value.tag: (event.step, value.simple_value) for value in event.summary.value}
    assert found["loss"] == (2, 1.75)
    assert found.keys() == {"loss", "gradient_norm", "tokens_per_second"}


def events_in(data):
    """The records of an event file: length, its checksum, content, its checksum."""
    while data:
        length = int(np.frombuffer(data[:8], "<u8")[0])
        content, data = data[12 : 12 + length], data[16 + length :]
        yield Event.FromString(content)
