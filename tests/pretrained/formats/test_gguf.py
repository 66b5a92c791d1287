"""GGUF files, written by hand: blocks worked out on paper, and what is refused."""

import struct

import numpy as np
import pytest

from attn_research.pretrained.formats.gguf import read_gguf
from experiments.robustness.weight_files import (
    GGUFTensor,
    gguf_array,
    gguf_file,
    gguf_string,
)

FILE = "a.gguf", read_gguf
F32, F16, Q4_0, Q4_1, Q8_0 = 0, 1, 2, 3, 8
HUGE = (1 << 62, 1 << 62)


def half(*values):
    return np.array(values, "<f2").tobytes()


# The low halves of 16 bytes are weights 0 to 15, the high halves are weights 16 to 31.
NIBBLES = bytes(low | (15 - low) << 4 for low in range(16))
LEVELS = np.array([*range(16), *range(15, -1, -1)], np.float32)
BLOCKS = {
    Q4_0: (half(0.5) + NIBBLES, (LEVELS - 8) / 2),
    Q4_1: (half(0.25, -3) + NIBBLES, LEVELS / 4 - 3),
    Q8_0: (half(2) + bytes(range(240, 256)) + bytes(range(16)), np.arange(-32.0, 32, 2)),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_are_scaled_levels(read, kind):
    block, expected = BLOCKS[kind]
    other = half(0) * (2 if kind == Q4_1 else 1) + block[4 if kind == Q4_1 else 2 :]
    stored = read(gguf_file([], {"w": GGUFTensor((64, 2), kind, (block + other) * 2)})).tensors["w"]
    assert stored.shape == (2, 64) and stored.dtype == np.float32
    row = np.concatenate([expected, np.zeros(32)])
    np.testing.assert_array_equal(stored.read(), [row, row])


def test_a_scale_that_is_not_finite_gives_weights_that_are_not(read):
    block = half(np.inf) + bytes(32)
    found = read(gguf_file([], {"w": GGUFTensor((32,), Q8_0, block)})).tensors["w"].read()
    assert np.isnan(found).all()


def test_shapes_are_in_the_order_of_numpy(read):
    values = np.arange(30, dtype=np.float32)
    tensors = {
        "a": GGUFTensor((5, 3, 2), F32, values.tobytes()),
        "b": GGUFTensor((3,), F16, half(7, 8, 9)),
        "scalar": GGUFTensor((), F32, values[4:5].tobytes()),
        "empty": GGUFTensor((0, 3), F32, b""),
    }
    found = {name: stored.read() for name, stored in read(gguf_file([], tensors)).tensors.items()}
    assert list(found) == list(tensors)
    np.testing.assert_array_equal(found["a"], values.reshape(2, 3, 5), strict=True)
    np.testing.assert_array_equal(found["b"], np.float16([7, 8, 9]), strict=True)
    assert found["scalar"] == 4 and found["empty"].shape == (3, 0)


def test_values_of_every_kind_are_read(read):
    numbers = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
    values = [(f"n{kind}", kind, struct.pack(f"<{code}", 7)) for kind, code in numbers.items()]
    arrays = [
        (f"a{kind}", 9, gguf_array(kind, 3, struct.pack(f"<3{code}", 1, 2, 3)))
        for kind, code in numbers.items()
    ]
    texts = [("s", 8, gguf_string("größe")), ("t", 9, gguf_array(8, 2, 2 * gguf_string("x")))]
    empty = [("e", 9, gguf_array(8, 0, b"")), ("f", 9, gguf_array(6, 0, b""))]
    bools = [("yes", 7, b"\1"), ("no", 7, b"\0"), ("b", 9, gguf_array(7, 2, b"\1\0"))]
    found = read(gguf_file(values + arrays + texts + empty + bools, {})).metadata
    assert [found[f"n{kind}"] for kind in numbers] == [7] * len(numbers)
    for kind, code in numbers.items():
        expected = np.array([1, 2, 3], f"<{code}")
        np.testing.assert_array_equal(found[f"a{kind}"], expected, strict=True)
    assert (found["s"], found["t"], found["e"]) == ("größe", ["x", "x"], [])
    assert len(found["f"]) == 0
    assert found["yes"] is True and found["no"] is False and found["b"].tolist() == [True, False]


def tensor(axes=(5,), kind=F32, data=bytes(20)):
    return {"w": GGUFTensor(axes, kind, data)}


def value(kind, data):
    return gguf_file([("k", kind, data)], {})


SAME = [("k", 4, bytes(4)), ("k", 4, bytes(4))]
ARRAYS = struct.pack("<IQ", 9, 2) + gguf_array(4, 1, bytes(4)) * 2
REFUSED = {
    r"weights of type Q6_K; float32, .* Q8_0 are read": gguf_file([], tensor(kind=14)),
    r"weights of type number 999": gguf_file([], tensor(kind=999)),
    r"rows of \(5,\) are no blocks of 32": gguf_file([], tensor(kind=Q4_1)),
    r"rows of \(\) are no blocks": gguf_file([], tensor((), Q8_0)),
    r"'w': overlaps another tensor or leaves the file": gguf_file([], tensor((500,))),
    r"'w': no tensor has the shape \(4611": gguf_file([], tensor(HUGE)),
    r"'w': no tensor has the shape": gguf_file([], tensor((32, *HUGE), Q4_0)),
    r"'w': no tensor has the shape \(0,": gguf_file([], tensor((1 << 62, 5, 0))),
    r"says 5 axes, GGUF has 4": gguf_file([], tensor((1,) * 5)),
    r"two entries are called 'k'": gguf_file(SAME, {}),
    r"the value of 'k' is of the unknown type 13": value(13, b""),
    r"the value of 'k' is of the unknown type 9": value(9, ARRAYS),
    r"value of 'k' takes 99 bytes .* \d+ are left": value(8, struct.pack("<Q", 99)),
    r"takes 9,223,372,036,854,775,808 bytes": value(8, struct.pack("<Q", 1 << 63)),
    r"takes 4,611,686,018,427,387,904 bytes": value(9, gguf_array(0, 1 << 62, b"")),
    r"the value of 'k' is no UTF-8": value(8, struct.pack("<Q", 1) + b"\xff"),
    r"general\.alignment is 0": gguf_file([("general.alignment", 4, bytes(4))], {}),
    r"general\.alignment is 'x'": gguf_file([("general.alignment", 8, gguf_string("x"))], {}),
    r"GGUF version 1 is not read": gguf_file([], {}, version=1),
    r"GGUF version 50,?331,?648 is not": gguf_file([], {}, version=3 << 24),  # big-endian
    r"says 131,073 tensors, no model has": b"GGUF" + struct.pack("<IQQ", 3, (1 << 17) + 1, 0),
    r"says 4,294,967,296 values, no model": b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 32),
    r"no GGUF file": b"GGML" + bytes(40),
    r"the magic number takes 4 bytes": b"GG",
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_not_read_is_named(assert_refused, why):
    assert_refused(REFUSED[why], why)


def test_tensors_do_not_overlap(read):
    """Or a small file would hold any number of them."""
    data = gguf_file([], {"v": GGUFTensor((8,), F32, bytes(32)), **tensor()})
    assert read(data)
    place = data.index(struct.pack("<IQ", F32, 32))
    with pytest.raises(ValueError, match=r"'w': overlaps another tensor"):
        read(data[:place] + struct.pack("<IQ", F32, 0) + data[place + 12 :])


def test_a_cut_file_is_told(read, assert_refused):
    values = [("k", 9, gguf_array(8, 2, 2 * gguf_string("abc")))]
    data = gguf_file(values, tensor((8,), F32, bytes(32)))
    assert read(data)
    for end in range(len(data)):
        assert_refused(data[:end], "download it again")


def test_a_file_that_shrinks_after_it_was_opened_is_told(read, tmp_path):
    stored = read(gguf_file([], tensor((8,), F32, bytes(32)))).tensors["w"]
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"a\.gguf: 32 bytes were cut off"):
        stored.read()
