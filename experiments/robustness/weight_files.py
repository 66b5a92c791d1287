"""Small files of weights in each container, written by hand: for mutation, and for tests.

No library of theirs is needed, and a value that none of them would write can be given.
"""

import io
import json
import struct
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from safetensors.numpy import save

from experiments.robustness.samples import Folder

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # of PyTorch's older files
SYSTEM = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"int": 4}}
CONFIG = json.dumps({"model_type": "bert", "architectures": ["BertModel"]}).encode()


class Named(NamedTuple):
    """A class or function in a pickle."""

    module: str
    name: str


class Called(NamedTuple):
    """A call of a function in a pickle."""

    function: Any
    arguments: tuple


class Persistent(NamedTuple):
    """A persistent id in a pickle."""

    id: Any


def pickle_of(value: Any) -> bytes:
    """The pickle of plain values, names, calls and persistent ids, of protocol 2."""
    return b"\x80\x02" + _emit(value) + b"."


def _emit(value: Any) -> bytes:
    match value:
        case Named(module, name):
            return f"c{module}\n{name}\n".encode()
        case Called(function, arguments):
            return _emit(function) + _emit(arguments) + b"R"
        case Persistent(key):
            return _emit(key) + b"Q"
        case None | True | False:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(_emit, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_emit, value)) + b"e"
        case dict():
            return b"}(" + b"".join(map(_emit, (x for pair in value.items() for x in pair))) + b"u"
    raise TypeError(type(value))


def torch_tensor(
    key: str, count: int, shape: tuple, strides: tuple | None = None, **fields: Any
) -> Called:
    """A float32 tensor as torch.save describes it; `fields` are other than usual ones."""
    given = {"offset": 0, "kind": "FloatStorage", "hooks": ORDERED, **fields}
    storage = "storage", Named("torch", given["kind"]), key, "cpu", count
    contiguous = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    rebuild = Named("torch._utils", "_rebuild_tensor_v2")
    view = given["offset"], shape, contiguous if strides is None else strides
    return Called(rebuild, (Persistent(storage), *view, False, given["hooks"]))


ORDERED = Called(Named("collections", "OrderedDict"), ())


def torch_zip(state: Any, storages: Mapping[str, bytes], order: bytes = b"little") -> bytes:
    """A file of torch.save."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        members = {"data.pkl": pickle_of(state), "byteorder": order}
        members |= {f"data/{key}": data for key, data in storages.items()}
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
    return packed.getvalue()


def torch_pickles(
    state: Any, storages: Mapping[str, np.ndarray], system: Any = SYSTEM, version: int = VERSION
) -> bytes:
    """A file of torch.save before version 1.6."""
    header = (MAGIC, version, system, state, list(storages))
    sizes = ((struct.pack("<q", values.size), values.tobytes()) for values in storages.values())
    return b"".join(map(pickle_of, header)) + b"".join(part for pair in sizes for part in pair)


class GGUFTensor(NamedTuple):
    """A tensor of a GGUF file: the axes in its order, the number of its type, the bytes."""

    axes: tuple[int, ...]
    kind: int
    data: bytes


def gguf_file(
    values: Iterable[tuple[str, int, bytes]], tensors: Mapping[str, GGUFTensor], version: int = 3
) -> bytes:
    """A GGUF file of values (key, number of the type, bytes) and tensors."""
    values = list(values)
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values))
    for key, kind, data in values:
        header += gguf_string(key) + struct.pack("<I", kind) + data
    body = b""
    for name, (axes, kind, data) in tensors.items():
        header += gguf_string(name) + struct.pack(f"<I{len(axes)}Q", len(axes), *axes)
        header += struct.pack("<IQ", kind, len(body))
        body += data + bytes(-len(data) % 32)
    return header + bytes(-len(header) % 32) + body


def gguf_string(text: str) -> bytes:
    """A string of a GGUF file: its length, then its bytes."""
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_array(kind: int, count: int, data: bytes) -> bytes:
    """An array of a GGUF file: the number of its type, its length, then its values."""
    return struct.pack("<IQ", kind, count) + data


_TYPES = ["float32", "int8", "int16", "int32", "float16", "bfloat16"]


def ctranslate2_file(
    variables: Mapping[str, np.ndarray], aliases: Mapping[str, str] = {}, version: int = 6
) -> bytes:
    """A model.bin of CTranslate2."""
    parts = [
        struct.pack("<I", version),
        _c_string("TinySpec"),
        struct.pack("<II", 5, len(variables)),
    ]
    for name, array in variables.items():
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        about = struct.pack("<BI", _TYPES.index(array.dtype.name), array.nbytes)
        parts += [_c_string(name), shape, about, array.tobytes()]
    parts += [struct.pack("<I", len(aliases))]
    parts += [_c_string(name) for pair in aliases.items() for name in pair]
    return b"".join(parts)


def _c_string(text: str) -> bytes:
    return struct.pack("<H", len(text.encode()) + 1) + text.encode() + b"\0"


def safetensors() -> list[Folder]:
    """A file with tensors of several types, and one with a single tensor."""
    return [{"a.safetensors": _safetensors("kernel", "bias")}, {"a.safetensors": _safetensors("k")}]


def torch() -> list[Folder]:
    """Files of both kinds: two tensors of one storage, one transposed, and a parameter."""
    values = np.arange(1.0, 13.0, dtype=np.float32)
    parameter = Named("torch._utils", "_rebuild_parameter")
    state = {
        "kernel": torch_tensor("0", 12, (3, 4)),
        "transposed": torch_tensor("0", 12, (4, 2), (1, 4), offset=4),
        "bias": Called(parameter, (torch_tensor("1", 5, (5,)), True, ORDERED)),
    }
    storages = {"0": values, "1": values[:5]}
    members = {key: array.tobytes() for key, array in storages.items()}
    return [
        {"pytorch_model.bin": torch_zip(state, members)},
        {"pytorch_model.bin": torch_pickles(state, storages)},
    ]


def gguf() -> list[Folder]:
    """Keys of every kind, and a tensor of each type that is read."""
    rng = np.random.default_rng(0)
    values = [
        ("general.architecture", 8, gguf_string("llama")),
        ("llama.block_count", 4, struct.pack("<I", 3)),
        ("llama.rope.freq_base", 6, struct.pack("<f", 1e4)),
        ("tokenizer.tokens", 9, gguf_array(8, 3, b"".join(map(gguf_string, ("a", "bc", "é"))))),
        ("tokenizer.scores", 9, gguf_array(6, 3, np.float32([1, 2, 3]).tobytes())),
        ("tokenizer.add", 7, b"\1"),
    ]
    blocks = {2: 18, 3: 20, 8: 34}
    tensors = {
        f"blocks.{kind}": GGUFTensor((32, 3), kind, rng.bytes(3 * size))
        for kind, size in blocks.items()
    }
    plain = np.arange(6.0, dtype=np.float32)
    tensors["float32"] = GGUFTensor((2, 3), 0, plain.tobytes())
    tensors["bfloat16"] = GGUFTensor((6,), 30, plain.astype(ml_dtypes.bfloat16).tobytes())
    return [{"a.gguf": gguf_file(values, tensors)}, {"a.gguf": gguf_file(values[:1], {})}]


def ctranslate2() -> list[Folder]:
    """A weight in float32, int8 and int16, and an alias of one."""
    levels = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
    variables = {
        "linear/bias": np.float16([1, 2, 3]),
        "linear/weight": levels,
        "linear/weight_scale": np.float32([2, 3, 4]),
        "other/weight": levels.astype(np.int16),
        "other/weight_scale": np.array(8, np.float32),
        "pre_norm": np.array(1, np.int8),
    }
    return [{"model.bin": ctranslate2_file(variables, {"tied/weight": "linear/weight"})}]


def published() -> list[Folder]:
    """Folders with a config, in every container; one in two files with their index."""
    first, second = "1.safetensors", "2.safetensors"
    index = {"weight_map": {"kernel": first, "bias": first, "k": second}}
    shards = {
        "model.safetensors.index.json": json.dumps(index).encode(),
        first: _safetensors("kernel", "bias"),
        second: _safetensors("k"),
    }
    whole = {"model.safetensors": _safetensors("kernel")}
    folders = [shards, whole, *torch(), *ctranslate2()]
    return [{"config.json": CONFIG, **folder} for folder in folders] + gguf()


def _safetensors(*names: str) -> bytes:
    kernel = np.arange(6.0).reshape(2, 3)
    kinds = {"kernel": np.float32, "bias": ml_dtypes.bfloat16, "k": np.int64}
    return save({name: kernel.astype(kinds[name]) for name in names}, {"format": "pt"})
