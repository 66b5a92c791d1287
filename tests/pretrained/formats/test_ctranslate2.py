"""CTranslate2's model.bin, written by hand: scales worked out on paper, and what is refused."""

import numpy as np
import pytest

from attn_research.pretrained.formats.ctranslate2 import read_ctranslate2
from experiments.robustness.weight_files import ctranslate2_file

FILE = "model.bin", read_ctranslate2
LEVELS = np.int8([[6, -4, 2], [127, 0, -127]])


def test_weights_are_divided_by_their_scales(read):
    cube = np.arange(-6, 6, dtype=np.int8).reshape(2, 3, 2)
    variables = {
        "a/weight": LEVELS,
        "a/weight_scale": np.float32([2, 254]),
        "b/weight": cube,
        "b/weight_scale": np.float32([0.5, 3]),
        "c/weight": LEVELS.astype(np.int16),
        "c/weight_scale": np.array(8, np.float32),
        "levels": LEVELS,  # neither a weight nor with a scale: numbers
    }
    found = read(ctranslate2_file(variables, {"d/weight": "a/weight"})).tensors
    assert list(found) == ["a/weight", "b/weight", "c/weight", "levels", "d/weight"]
    values = {name: stored.read() for name, stored in found.items()}
    np.testing.assert_array_equal(values["a/weight"], np.float32([[3, -2, 1], [0.5, 0, -0.5]]))
    np.testing.assert_array_equal(values["b/weight"][0], 2 * cube[0])
    np.testing.assert_array_equal(values["b/weight"][1], cube[1] / np.float32(3))
    np.testing.assert_array_equal(values["c/weight"], LEVELS / np.float32(8))
    np.testing.assert_array_equal(values["levels"], LEVELS, strict=True)
    assert {values[f"{each}/weight"].dtype.name for each in "abcd"} == {"float32"}


def test_versions_of_one_layout_are_read(read):
    for version in (4, 5, 6):
        data = ctranslate2_file({"b": np.float16([1, 2])}, version=version)
        assert read(data).tensors["b"].read().tolist() == [1, 2]
    for version in (3, 7, 1 << 31):
        with pytest.raises(
            ValueError, match=rf"version 4 to 6 \(its first number is {version:,}\)"
        ):
            read(ctranslate2_file({}, version=version))


BIAS = {"bias": np.float32([1, 2, 3])}
SCALE = {"weight_scale": np.float32([1, 2])}
DATA = ctranslate2_file(BIAS)
PLACE = DATA.index(b"bias\0") + 5  # of the rank; then the shape, the type, the number of bytes
REFUSED = {
    r"'weight' of int8 has no scale": ctranslate2_file({"weight": LEVELS}),
    r"'weight'.* with a scale of float32 and \(2,\) is not read, only float32 of \(3,\)":
        ctranslate2_file({"weight": LEVELS.T, **SCALE}),
    r"with a scale of float16": ctranslate2_file(
        {"weight": LEVELS, "weight_scale": np.float16([1, 2])}
    ),
    r"int16 of \(2, 3\) with a scale .* only float32 of \(\)":
        ctranslate2_file({"weight": LEVELS.astype(np.int16), **SCALE}),
    r"'weight' is quantized by AWQ": ctranslate2_file({"weight": LEVELS.astype(np.int32), **SCALE}),
    r"'tied' is an alias of no variable": ctranslate2_file(BIAS, {"tied": "weight"}),
    r"two variables are called 'bias'": ctranslate2_file(BIAS, {"bias": "bias"}),
    r"says 4,294,967,295 aliases, no model has": DATA[:-4] + b"\xff" * 4,
    r"1 bytes after its end": DATA + b"\0",
    r"'bias' is of the unknown type 6": DATA[: PLACE + 5] + b"\6" + DATA[PLACE + 6 :],
    r"'bias' of \(3,\) has 13 bytes": DATA[: PLACE + 6] + b"\x0d" + DATA[PLACE + 7 :],
    r"'bias' takes .* bytes .* are left": DATA[:PLACE] + b"\xff" + DATA[PLACE + 1 :],
    r"'bias'.*: no tensor has the shape": ctranslate2_file({"bias": np.ones((1,) * 9, np.float32)}),
    r"the name of a variable has no end": DATA.replace(b"bias\0", b"biass"),
    r"the name of a variable is no UTF-8": DATA.replace(b"bias\0", b"b\xffas\0"),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_not_read_is_named(assert_refused, why):
    assert_refused(REFUSED[why], why)


def test_a_cut_file_is_told(read, assert_refused):
    data = ctranslate2_file({"weight": LEVELS, **SCALE}, {"tied": "weight"})
    assert read(data)
    for end in range(len(data)):
        assert_refused(data[:end], "download it again")
