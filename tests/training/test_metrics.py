"""metrics.jsonl: means of sums, nothing twice or by halves; TensorBoard events; progress."""

import io
import json

import jax.numpy as jnp
import numpy as np
from tensorboardX.proto.event_pb2 import Event

from attn_research.training.metrics import MetricsLog
from attn_research.training.step import Metrics, Sums


def measured(total, weight, norm=1.0, tokens=0.0):
    counts = {"tokens": jnp.float32(tokens)}
    return Metrics(Sums(jnp.float32(total), jnp.float32(weight), counts), jnp.float32(norm))


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def open_log(folder, start=0, num_steps=5, every=2, **options):
    options = {"progress": False} | options
    return MetricsLog(folder, start=start, num_steps=num_steps, every=every, **options)


class Terminal(io.StringIO):
    """A stream that a person watches."""

    def isatty(self):
        return True


def test_a_line_is_the_mean_over_its_steps(tmp_path):
    clock = [100.0]
    log = open_log(tmp_path / "run", clock=lambda: clock[0])
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


def test_a_resumed_run_drops_lines_that_it_measures_again(tmp_path):
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


def test_event_files_hold_the_same_numbers(tmp_path):
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


def test_progress_without_a_terminal_is_a_line_every_half_minute(tmp_path):
    now, stream = [100.0], io.StringIO()
    options = dict(progress=True, stream=stream, clock=lambda: now[0])
    log = open_log(tmp_path / "run", start=2000, num_steps=2010, **options)
    expected = []
    for step in range(1, 11):  # of 8 seconds each
        now[0] += 8.0
        log.write(2000 + step, measured(6 * step, 2))
        if step == 4:
            # 32 seconds for 4 steps: 6 more take 48.
            expected.append("run: step 2,004 of 2,010, loss 7.5, 0.125 steps/s, 00:48 left")
            with log.paused():  # a hook, in the time left but not in the rate
                now[0] += 20.0
        if step == 6:
            expected.append("run: step 2,006 of 2,010, loss 16.5, 0.125 steps/s, 00:45 left")
        if step == 10:
            expected.append("run: step 2,010 of 2,010, loss 25.5, 0.125 steps/s, 00:00 left")
        assert stream.getvalue().splitlines() == expected
    log.close()
    assert stream.getvalue().splitlines() == expected


def test_progress_is_a_bar_on_a_terminal(tmp_path):
    stream = Terminal()
    log = open_log(tmp_path / "run", num_steps=2, progress=True, stream=stream)
    log.write(1, measured(3, 2))
    log.write(2, measured(4, 2))
    log.close()
    shown = stream.getvalue()
    assert "run: 100%" in shown and "2/2" in shown and "loss=1.75" in shown
    assert "steps/s," not in shown


def test_without_progress_nothing_is_shown(tmp_path, capsys):
    stream, now = io.StringIO(), [0.0]
    log = open_log(tmp_path / "run", stream=stream, clock=lambda: now[0])
    for step in range(1, 6):
        now[0] += 60.0
        log.write(step, measured(3, 2))
    log.close()
    assert stream.getvalue() == ""
    assert capsys.readouterr() == ("", "")
