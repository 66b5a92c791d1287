"""Pickles read as data: plain values of every protocol, and a refusal of everything else."""

import collections
import io
import os
import pickle
import subprocess

import pytest

from attn_research.pretrained.formats.pickles import PickleMachine, Unpicklable

VALUE = {
    "numbers": [0, 1, -1, 255, 70_000, -(2**31), 2**62, 2.5],
    "texts": ("", "a b", "größe\n日本", "x" * 300),
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "constants": [None, True, False],
    "ordered": collections.OrderedDict(a=1, b=[{}, {3: 4}]),
}


def run(data, known=None, persistent=None):
    return PickleMachine(known or {}, persistent or (lambda key: key)).run(io.BytesIO(data))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_are_those_that_were_pickled(protocol):
    shared = [7]
    known = {"collections.OrderedDict": lambda: collections.OrderedDict()}
    value = VALUE | {"first": shared, "again": shared}
    found = run(pickle.dumps(value, protocol), known)
    assert found == value and type(found["ordered"]) is collections.OrderedDict
    assert found["first"] is found["again"]


def test_a_pickle_ends_where_the_next_begins():
    file = io.BytesIO(pickle.dumps([1]) + pickle.dumps("b"))
    machine = PickleMachine({}, lambda key: key)
    assert [machine.run(file), machine.run(file)] == [[1], "b"]


class Harmful:
    """A pickle of it makes a folder where it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_function_of_a_pickle_is_called(tmp_path, protocol):
    data = pickle.dumps({"a": Harmful(str(tmp_path / "made"))}, protocol)
    with pytest.raises(Unpicklable, match=r"a pickled object of class (posix|nt)\.mkdir"):
        run(data)
    assert not (tmp_path / "made").exists()
    pickle.loads(data)
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"(ios\nsystem\nS'ls'\no.", "opcode INST"),
        (b"(S'ls'\ncos\nsystem\no.", "opcode STRING"),
        (b"\x82\x01.", "opcode EXT1"),
        (pickle.dumps(subprocess.PIPE), None),
        (pickle.dumps({1.5: 2}), "keys are of type float"),
        (pickle.dumps(b"bytes"), "opcode SHORT_BINBYTES"),
        (b"}X\x01\0\0\0aK\x01s}X\x01\0\0\0bK\x01sb.", "object with attributes"),
    ],
)
def test_other_values_are_named(data, why):
    if why is None:
        assert run(data) == subprocess.PIPE
        return
    with pytest.raises(Unpicklable, match=why):
        run(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "exhausted before seeing STOP"),
        (b"\x80\x02]", "exhausted before seeing STOP"),
        (b"<html>", "opcode b'<' unknown"),
        (b".", "not enough values"),
        (b"NN.", "too many values"),
        (b"t.", "IndexError"),
        (b"R.", "its stack is empty"),
        (b"h\x07.", "KeyError: 7"),
        (b"NNR.", "must be an iterable"),
        (b"N)R.", "not callable"),
        (b"NNa.", "no list to put something into"),
        (b"](X\x01\0\0\0au.", "shorter than argument"),
        (b"\x8b\xff\xff\xff\x7f.", "not enough data in stream to read long4"),
        (b"\x8d" + b"\xff" * 7 + b"\x3f.", "bytes in a unicodestring8"),
        (b"\x8b\x00\x10\x00\x00" + b"\x7f" * 4096 + b".", "a number of 32767 bits"),
    ],
)
def test_damage_is_told_in_one_line(data, why):
    with pytest.raises(ValueError, match=why) as caught:
        run(data)
    assert str(caught.value).startswith("a damaged pickle (") and "\n" not in str(caught.value)


def test_values_that_grow_without_end_take_no_time():
    """A tuple of 2^100 parts, which Python would visit all to hash it or to print it."""
    pairs = (b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(100))
    doubled = b"K\x01" + b"".join(pairs)
    found = run(doubled + b".")
    assert found[0] is found[1]
    with pytest.raises(Unpicklable, match="keys are of type tuple"):
        run(b"}" + doubled + b"Ns.")
