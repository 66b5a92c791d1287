"""PyTorch's files, written by hand: what is read of them, and what is refused."""

import copy
import io
import struct
import zipfile

import numpy as np
import pytest

from attn_research.pretrained.formats import torch
from attn_research.pretrained.formats.torch import read_torch
from experiments.robustness.weight_files import (
    ORDERED,
    SYSTEM,
    Called,
    Named,
    Persistent,
    pickle_of,
    torch_pickles,
    torch_tensor,
    torch_zip,
)

FILE = "a.bin", read_torch
VALUES = np.arange(12, dtype=np.float32)


def both(state, **storages):
    """Both kinds of files."""
    storages = storages or {"0": VALUES}
    members = {key: values.tobytes() for key, values in storages.items()}
    return torch_zip(state, members), torch_pickles(state, storages)


@pytest.mark.parametrize("kind", [0, 1])
def test_views_have_their_offsets_and_strides(read, kind):
    state = {
        "whole": torch_tensor("0", 12, (3, 4)),
        "columns": torch_tensor("0", 12, (4, 2), (1, 4), offset=4),
        "last": torch_tensor("0", 12, (), offset=11),
        "empty": torch_tensor("0", 12, (0, 5), offset=12),
    }
    found = {name: stored.read() for name, stored in read(both(state)[kind]).items()}
    np.testing.assert_array_equal(found["whole"], VALUES.reshape(3, 4))
    np.testing.assert_array_equal(found["columns"], VALUES.reshape(3, 4)[1:].T)
    assert found["last"] == 11 and found["last"].shape == ()
    assert found["empty"].shape == (0, 5)
    found["whole"][:] = 0  # an array of its own
    assert found["columns"][0, 0] == 4


def test_big_endian_values_are_turned(read):
    state, members = {"a": torch_tensor("0", 12, (12,))}, {"0": VALUES.astype(">f4").tobytes()}
    found = read(torch_zip(state, members, b"big"))["a"]
    np.testing.assert_array_equal(found.read(), VALUES)
    assert found.read().dtype.isnative
    with pytest.raises(ValueError, match=r"its byte order is neither little nor big"):
        read(torch_zip(state, members, b"middle"))


def persistent(*key):
    rebuild = Named("torch._utils", "_rebuild_tensor_v2")
    return Called(rebuild, (Persistent(key), 0, (3,), (1,), False, ORDERED))


FLOAT = Named("torch", "FloatStorage")
SYSTEM_CALL = Called(Named("os", "system"), ("ls",))
SPARSE = Called(Named("torch._utils", "_rebuild_sparse_tensor"), ())
COMPLEX = torch_tensor("0", 6, (6,), kind="ComplexFloatStorage")
REFUSED = {
    r"class os\.system, which is never loaded: convert": {"a": SYSTEM_CALL},
    r"class torch\.nn\.modules\.linear\.Linear, which": Named("torch.nn.modules.linear", "Linear"),
    r"class torch\.ComplexFloatStorage": {"a": COMPLEX},
    r"class torch\._utils\._rebuild_sparse_tensor": {"a": SPARSE},
    r"a tensor with hooks": {"a": torch_tensor("0", 12, (12,), hooks={"x": 1})},
    r"id that is no plain storage": {"a": persistent("storage", FLOAT, "0", "cpu", 12, (1, 2))},
    r"a persistent id that is no": {"a": persistent("module", FLOAT, "0", "cpu", 12)},
    r"'epoch' is no tensor but of type int": {"a": torch_tensor("0", 12, (12,)), "epoch": 3},
    r"'model' is no tensor but of type dict": {"model": {"a": torch_tensor("0", 12, (12,))}},
    r"holds a list, not tensors by name": [torch_tensor("0", 12, (12,))],
    r"'7': the names of tensors are strings": {7: torch_tensor("0", 12, (12,))},
    r"'a' leaves its storage of 12": {"a": torch_tensor("0", 12, (12,), offset=1)},
    r"'a' leaves its storage": {"a": torch_tensor("0", 12, (3, 4), (5, 1))},
    r"'a' repeats the values of its storage": {"a": torch_tensor("0", 12, (9, 4), (0, 1))},
    r"repeats the values": {"a": torch_tensor("0", 12, (1 << 30, 1 << 30), (0, 0))},
    r"'a': no tensor has the shape": {"a": torch_tensor("0", 12, (1 << 40,) * 2, (0, 0))},
    r"'b': no tensor has the shape": {"b": torch_tensor("0", 12, (1,) * 9)},
    r"'a' has no valid shape": {"a": torch_tensor("0", 12, (3, 4), (1,))},
    r"'b' has no valid shape": {"b": torch_tensor("0", 12, (3,), (-1,), offset=4)},
    r"'c' has no valid shape": {"c": torch_tensor("0", 12, ("3",), (1,))},
    r"damaged pickle \(ValueError: two storages '0'": {
        "a": torch_tensor("0", 12, (12,)), "b": torch_tensor("0", 6, (6,), kind="DoubleStorage"),
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("why", REFUSED)
def test_what_is_no_plain_tensor_is_named(assert_refused, why, kind):
    assert_refused(both(REFUSED[why])[kind], why)


def repacked(state, change):
    """A zip of torch.save whose members were changed."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(both(state)[0])) as archive,
        zipfile.ZipFile(packed, "w") as changed,
    ):
        for name, data in change({name: archive.read(name) for name in archive.namelist()}):
            changed.writestr(zipfile.ZipInfo(name), data)
    return packed.getvalue()


def test_the_members_of_an_archive_are_checked(read):
    state = {"a": torch_tensor("0", 12, (12,))}
    short = {"archive/data/0": VALUES.tobytes()[:-4]}
    for change in (
        lambda members: [item for item in members.items() if item[0] != "archive/data/0"],
        lambda members: (members | short).items(),
    ):
        with pytest.raises(ValueError, match=r"a\.bin: no storage '0' of 12 values"):
            read(repacked(state, change))
    with pytest.raises(ValueError, match=r"0 members called data\.pkl"):
        read(repacked(state, lambda members: [("archive/version", b"3")]))
    with pytest.raises(ValueError, match=r"2 members called data\.pkl"):
        read(repacked(state, lambda members: [*members.items(), ("b/data.pkl", b"")]))
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        pytest.raises(ValueError, match=r"two members of one name"),
    ):
        read(repacked(state, lambda members: [*members.items(), ("archive/data/0", b"")]))


def test_a_description_is_no_longer_than_one_of_tensors(read, monkeypatch):
    state = {"a": torch_tensor("0", 12, (12,))}
    monkeypatch.setattr(torch, "MAX_PICKLE", 40)
    for data, why in zip(both(state), ("its pickle is too long", "a damaged pickle"), strict=True):
        with pytest.raises(ValueError, match=rf"a\.bin: .*{why}"):
            read(data)


def test_members_do_not_overlap(read):
    """Or a small file would hold any number of storages."""
    packed = io.BytesIO(both({"a": torch_tensor("0", 500, (500,))}, **{"0": np.ones(500, "f4")})[0])
    with zipfile.ZipFile(packed, "a") as archive:
        again = copy.copy(archive.getinfo("archive/data/0"))
        again.filename = "archive/data/1"
        archive.filelist.append(again)
        archive.writestr(zipfile.ZipInfo("archive/version"), b"3")  # so that the list is written
    with pytest.raises(ValueError, match=r"a\.bin: .*its members overlap"):
        read(packed.getvalue())


def test_a_compressed_archive_is_refused_before_it_grows(read):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle_of({"a": torch_tensor("0", 1 << 24, (4, 5))}))
        archive.writestr("archive/data/0", bytes(1 << 24))
    with pytest.raises(ValueError, match=r"'archive/data\.pkl' is compressed"):
        read(packed.getvalue())


@pytest.mark.parametrize("kind", [0, 1])
def test_a_cut_file_is_told(read, assert_refused, kind):
    data = both({"a": torch_tensor("0", 12, (12,))})[kind]
    assert read(data)
    for end in range(0, len(data), 7):
        assert_refused(data[:end], "(download it again|safetensors)$")


def test_a_changed_byte_of_a_zip_is_found(read):
    data = both({"a": torch_tensor("0", 12, (12,))})[0]
    place = data.index(VALUES.tobytes()) + 17
    found = read(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])["a"]
    with pytest.raises(ValueError, match=r"a\.bin: .*Bad CRC-32"):
        found.read()


def test_older_files_are_checked(read):
    state, storages = {"a": torch_tensor("0", 12, (12,))}, {"0": VALUES}
    for changed, why in (
        (torch_pickles(state, storages, version=1000), "that PyTorch did not write"),
        (torch_pickles(state, storages, system=[]), "that PyTorch did not write"),
        (torch_pickles(state, storages, SYSTEM | {"little_endian": False}), "big-endian values"),
        (torch_pickles(state, {"1": VALUES}), "its storages are not those"),
        (torch_pickles(state, {0: VALUES}), "its storages are not those"),
        (torch_pickles(state, {}), "its storages are not those"),
        (torch_pickles(state, {"0": VALUES[1:]}), "a storage of another size than said"),
        (torch_pickles(state, storages) + b"\0\0", r"2 bytes after its end"),
        (pickle_of(3) + pickle_of(4) + pickle_of({}), "that PyTorch did not write"),
        (b"version", "neither a zip archive nor a pickle"),
        (b"", "neither a zip archive nor a pickle"),
    ):
        with pytest.raises(ValueError, match=rf"a\.bin: .*{why}"):
            read(changed)
    huge = torch_pickles({"a": torch_tensor("0", 1 << 40, (1 << 40,))}, storages)
    place = huge.index(struct.pack("<q", 12) + VALUES.tobytes())
    with pytest.raises(ValueError, match=r"takes 4,398,046,511,104 bytes .* where 48 are left"):
        read(huge[:place] + struct.pack("<q", 1 << 40) + huge[place + 8 :])
