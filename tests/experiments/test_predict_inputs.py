"""Inputs of experiments.predict: lines as every other reader counts them."""

import io
import os
import types

import pytest
from absl import flags

from experiments import predict
from experiments.harness.task import Response

MARK = b"\xef\xbb\xbf"


@pytest.fixture
def read(monkeypatch):
    """Reads the inputs that some flags name."""

    def make(*words, kind="text", stdin=b""):
        values = flags.FlagValues()
        for name in ("text", "file", "image", "audio", "question"):
            flags.DEFINE_string(name, "", "", flag_values=values)
        values(["predict", *words])
        monkeypatch.setattr(predict.flags, "FLAGS", values)
        buffer = io.BufferedReader(io.BytesIO(stdin))
        monkeypatch.setattr(
            predict.sys, "stdin", types.SimpleNamespace(buffer=buffer, isatty=lambda: False)
        )
        return list(predict.read_inputs(kind))

    return make


@pytest.mark.parametrize("separator", list("\u2028\x85\x1c\x0c"))
def test_a_file_has_as_many_inputs_as_lines(read, tmp_path, separator):
    path = tmp_path / "lines.txt"
    path.write_bytes(MARK + f"a{separator}b\r\n\nc".encode())
    assert read(f"--file={path}") == [f"a{separator}b", "", "c"]


def test_standard_input_has_as_many_inputs_as_lines(read):
    assert read(stdin=MARK + "a\u2028b\r\nc\rd\n".encode()) == ["a\u2028b", "c\rd"]
    with pytest.raises(ValueError, match="standard input, line 2: not UTF-8"):
        read(stdin=b"a\n\xff\n")


def test_a_file_that_is_no_text_is_named(read, tmp_path):
    path = tmp_path / "lines.txt"
    for content, message in ((b"\xff\xfea\0", "UTF-16"), (b"a\n\xff", "line 2: not UTF-8")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"--file=.*lines\.txt.*{message}"):
            read(f"--file={path}")
    with pytest.raises(ValueError, match=r"--file=.*nowhere.*no such file"):
        read(f"--file={tmp_path}/nowhere")


def test_a_tilde_is_the_home_of_the_user(read, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "lines.txt").write_text("a\n")
    assert read("--file=~/lines.txt") == ["a"]


def test_a_question_is_about_all_images(read):
    both = "--image=a.png,b.png", "--question=what ?"
    assert read(*both, kind=predict.QUESTION) == [("what ?", ["a.png", "b.png"])]
    for words in (both[:1], both[1:], (), (*both, "--text=a")):
        with pytest.raises(ValueError, match=r"give --image=FILE, .* and --question="):
            read(*words, kind=predict.QUESTION)
    with pytest.raises(ValueError, match="--question: this run's model reads text alone"):
        read(both[1], kind="text")


def test_a_closed_output_ends_without_a_message(monkeypatch, capfd):
    task = types.SimpleNamespace(
        inputs="text", respond=lambda *_: (Response("a", "b", {}, {}) for _ in range(2))
    )
    run = types.SimpleNamespace(network=None, params=None, task=task)
    monkeypatch.setattr(predict, "load_run", lambda *_: run)
    values = flags.FlagValues()
    drawn = "attention", "layers", "heads", *predict.OF_SOUNDS
    for name in ("run", "checkpoint", "do", *drawn, *predict.CONTINUATION):
        flags.DEFINE_string(name, "", "", flag_values=values)
    for name in ("json", "debug"):
        flags.DEFINE_bool(name, False, "", flag_values=values)
    values(["predict", "--run=folder"])
    monkeypatch.setattr(predict.flags, "FLAGS", values)
    monkeypatch.setattr(predict, "read_inputs", lambda _: iter(["a"]))
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as output:
        monkeypatch.setattr(predict.sys, "stdout", output)
        with pytest.raises(SystemExit) as end:
            predict._main(["predict"])
    assert end.value.code == 128 + 13 and not capfd.readouterr().err
