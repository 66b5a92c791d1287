"""Safetensors files written and read again, and one line for each kind of damage."""

import json
import os
import stat
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open

from attn_research.pretrained.formats import safetensors
from attn_research.pretrained.formats.safetensors import (
    DTYPES,
    read_safetensors,
    write_safetensors,
)


def write_header(path, header, data=bytes(24), size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + data)
    return path


def entry(shape=(2, 3), dtype="F32", offsets=(0, 24)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_what_is_written_is_read_again(tmp_path, dtype):
    path = tmp_path / "new" / "a.safetensors"
    kernel = (np.arange(6) % 2).reshape(2, 3).astype(dtype)
    tensors = {"kernel": kernel, "scalar": kernel[1, 2], "empty": kernel[:0]}
    write_safetensors(path, {**tensors, "scalar": np.asarray(kernel[0, 1])}, {"format": "pt"})
    found = read_safetensors(path)
    assert set(found) == set(tensors)
    for name, value in tensors.items():
        assert found[name].shape == value.shape and found[name].dtype == dtype
        np.testing.assert_array_equal(found[name].read(), value, strict=True)
    with safe_open(path, framework="np") as file:
        assert file.metadata() == {"format": "pt"}


def test_an_array_is_written_as_it_reads_however_it_lies(tmp_path):
    kernel = np.arange(12, dtype=np.float32).reshape(3, 4)
    tensors = {"t": kernel.T, "part": kernel[:, 1:3], "big": kernel.astype(">f4")}
    tensors["bfloat16"] = kernel.astype(ml_dtypes.bfloat16).T
    write_safetensors(tmp_path / "a.safetensors", tensors)
    for name, stored in read_safetensors(tmp_path / "a.safetensors").items():
        np.testing.assert_array_equal(stored.read(), tensors[name])


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": np.ones(3, np.float32)})
    assert stat.S_IMODE(os.stat(path).st_mode) == stat.S_IMODE(_new_file(tmp_path).st_mode)
    before = path.read_bytes()
    for bad in (
        {"a": np.array(["text"])},
        {"a": np.zeros(2, complex)},
        {"__metadata__": np.ones(2)},
    ):
        with pytest.raises(ValueError, match=r"a\.safetensors: a tensor .* cannot be written"):
            write_safetensors(path, bad)

    def fail(arrays, temporary, metadata):
        temporary.write_bytes(b"half")
        raise safetensors.SafetensorError("no space left")

    monkeypatch.setattr(safetensors, "save_file", fail)
    with pytest.raises(OSError, match=r"cannot write .*a\.safetensors \(no space left\)"):
        write_safetensors(path, {"a": np.ones(4)})
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["a.safetensors"]


def _new_file(folder):
    path = folder / "new"
    path.touch()
    found = path.stat()
    path.unlink()
    return found


DAMAGE = {
    "invalid header length": (b"", b"", 8),
    "header too large": ({"a": entry()}, bytes(24), 1 << 60),
    "invalid JSON in header": (b"{" * 9, bytes(24), None),
    "not fully covered": ({"a": entry()}, bytes(28), None),
    "invalid offset for tensor `b`": (
        {"a": entry(), "b": entry(offsets=(12, 36))},
        bytes(36),
        None,
    ),
    "unknown variant `F31`": ({"a": entry(dtype="F31")}, bytes(24), None),
    "invalid shape": ({"a": entry(shape=(2, 4))}, bytes(24), None),
}


@pytest.mark.parametrize("why", DAMAGE)
def test_damage_is_told_in_one_line_with_the_file(tmp_path, why):
    path = write_header(tmp_path / "a.safetensors", *DAMAGE[why])
    with pytest.raises(ValueError) as caught:
        read_safetensors(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: no whole safetensors file (") and why in message
    assert message.endswith("download it again") and "\n" not in message


def test_a_cut_file_is_told(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": np.ones(30)})
    data = path.read_bytes()
    for end in range(0, len(data), 13):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"a\.safetensors: no whole safetensors file"):
            read_safetensors(path)


def test_a_type_or_shape_that_numpy_has_not_is_named(tmp_path):
    path = write_header(tmp_path / "a.safetensors", {"w": entry((24,), "F8_E4M3")})
    with pytest.raises(ValueError, match=r"a\.safetensors, 'w': values of type F8_E4M3, of BOOL"):
        read_safetensors(path)
    path = write_header(path, {"w": entry((0, 1 << 62, 5), offsets=(0, 0))}, b"")
    with pytest.raises(ValueError, match=r"a\.safetensors, 'w': no tensor has the shape \(0, 4611"):
        read_safetensors(path)
