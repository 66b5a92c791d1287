"""Mutations of files: what failing disks, interrupted copies and wrong tools make of them.

A mutation is a pure function of the content and of a random generator, so that a seed and a number
give a file again. Of packed content (gzip, zip) half of the mutations are of what is inside, and as
often the checksums of a PNG are made right again, so that damage gets past the first check.
"""

import gzip
import io
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

_PNG = b"\x89PNG\r\n\x1a\n"
_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_PIECES = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\n", b"\r", b"\r\n", b"\t", b" ", b"\x1c",
    "\u2581".encode(), "\u2585".encode(), "\u2028".encode(), "\x85".encode(), "\ufdd0".encode(),
    b"@@ ", b"<s>", b"</s>", b"<unk>", b"(", b")", b"(S ", b"{", b"[", b'"', b"null", b"NaN", b"-",
    b"1-1", b"9" * 30, b"-1", b"1e999", b"\xed\xa0\x80", b"\xc0\xaf", b"%n%s", b"../",
    b"PK\x03\x04", b"\x1f\x8b\x08",
)  # fmt: skip


class Mutated(NamedTuple):
    """A mutated content, and what was done to it."""

    data: bytes
    about: str


Mutation = Callable[[bytes, random.Random, Sequence[bytes]], Mutated]


def mutate(data: bytes, rng: random.Random, others: Sequence[bytes]) -> Mutated:
    """The content after one to three mutations; `others` are contents to splice with."""
    inside = _MUTATE_INSIDE.get(_kind(data))
    if inside is not None and rng.random() < 0.5:
        return inside(data, rng, others)
    return _several(data, rng, others)


def _several(data: bytes, rng: random.Random, others: Sequence[bytes]) -> Mutated:
    done = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        data, about = rng.choice(MUTATIONS)(data, rng, others)
        done.append(about)
    return Mutated(data, ", ".join(done))


def _place(data: bytes, rng: random.Random) -> int:
    """A place in the content, often near its start, where headers are."""
    return rng.randrange(min(len(data), 64) + 1 if rng.random() < 0.4 else len(data) + 1)


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    """The start and end of a part, mostly a short one."""
    start = _place(data, rng)
    longest = max(1, len(data) - start)
    return start, start + rng.randint(1, longest if rng.random() < 0.2 else min(longest, 16))


def flip_bits(data, rng, others):
    """One to eight bits flipped."""
    found, places = bytearray(data), []
    for _ in range(rng.randint(1, 8) if data else 0):
        place = min(_place(data, rng), len(data) - 1)
        found[place] ^= 1 << rng.randrange(8)
        places.append(place)
    return Mutated(bytes(found), f"bits flipped in bytes {places}")


def truncate(data, rng, others):
    """The end cut off."""
    end = _place(data, rng)
    return Mutated(data[:end], f"cut after byte {end}")


def delete(data, rng, others):
    """A part left out."""
    start, end = _span(data, rng)
    return Mutated(data[:start] + data[end:], f"bytes {start}-{end} left out")


def insert(data, rng, others):
    """Random bytes, or a piece that means something to some reader, put in once or very often."""
    start = _place(data, rng)
    piece = rng.choice(_PIECES) if rng.random() < 0.7 else rng.randbytes(rng.randint(1, 16))
    times = rng.choice((1, 1, 1, 2, 50, 5000))
    return Mutated(data[:start] + piece * times + data[start:], f"{times} x {piece!r} at {start}")


def overwrite(data, rng, others):
    """A part overwritten, by zeros, ones or noise."""
    start, end = _span(data, rng)
    size = min(end, len(data)) - start
    part = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
    return Mutated(
        data[:start] + part + data[start + size :], f"{size} bytes at {start} overwritten"
    )


def duplicate(data, rng, others):
    """A part repeated in place or elsewhere."""
    start, end = _span(data, rng)
    times, at = rng.choice((1, 1, 3, 100)), rng.choice((end, _place(data, rng)))
    found = data[:at] + data[start:end] * times + data[at:]
    return Mutated(found, f"bytes {start}-{end} {times} times again at {at}")


def swap(data, rng, others):
    """Two parts exchanged."""
    first, middle, last = sorted(_place(data, rng) for _ in range(3))
    found = data[:first] + data[middle:last] + data[first:middle] + data[last:]
    return Mutated(found, f"bytes {first}-{middle} and {middle}-{last} exchanged")


def splice(data, rng, others):
    """The beginning of this content and the end of another."""
    other = rng.choice(others) if others else b""
    start, end = _place(data, rng), _place(other, rng)
    return Mutated(data[:start] + other[end:], f"another file's end from {end} on at {start}")


def resize(data, rng, others):
    """A size or offset in binary set to another number."""
    width, order = rng.choice((1, 2, 4, 8)), rng.choice("<>")
    place = _place(data, rng)
    number = rng.choice((*_NUMBERS, len(data), len(data) + 1, 2**63 - 1)) % 256**width
    packed = struct.pack(f"{order}{dict(zip((1, 2, 4, 8), 'BHIQ', strict=True))[width]}", number)
    found = data[:place] + packed + data[place + width :]
    return Mutated(found, f"{width} bytes at {place} set to {number}")


def renumber(data, rng, others):
    """A number in digits set to another one."""
    spans = [found.span() for found in re.finditer(rb"-?[0-9]+", data[:20_000])]
    if not spans:
        return resize(data, rng, others)
    start, end = rng.choice(spans)
    numbers = (*map(str, _NUMBERS), "-1", str(-(2**31)), "1" + "0" * 30, "9" * 5000)
    number = rng.choice(numbers)
    found = data[:start] + number.encode() + data[end:]
    return Mutated(found, f"the number at {start} set to {number[:12]} of {len(number)} digits")


def replace(data, rng, others):
    """Nothing, noise, or another file altogether."""
    found = rng.choice((b"", rng.randbytes(rng.randint(1, 400)), *others[:4]))
    return Mutated(found, f"replaced by {len(found)} other bytes")


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, flip_bits, flip_bits, truncate, delete, insert, insert, overwrite, duplicate, swap,
    splice, resize, resize, renumber, replace,
)  # fmt: skip


def _kind(data: bytes) -> str:
    starts = {"gzip": b"\x1f\x8b", "zip": b"PK\x03\x04", "png": _PNG}
    return next((name for name, start in starts.items() if data.startswith(start)), "")


def _inside_gzip(data, rng, others):
    content, about = mutate(gzip.decompress(data), rng, ())
    return Mutated(gzip.compress(content, mtime=0), f"inside gzip: {about}")


def _inside_zip(data, rng, others):
    """A member of a zip archive mutated, its checksum made right."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(packed, "w") as copy:
        names = archive.namelist()
        chosen, about = rng.choice(names), ""
        for name in names:
            content = archive.read(name)
            if name == chosen:
                content, about = _several(content, rng, ())
            kind = archive.getinfo(name).compress_type
            copy.writestr(zipfile.ZipInfo(name), content, kind)
    return Mutated(packed.getvalue(), f"inside {chosen}: {about}")


def _with_checksums(data, rng, others):
    """A PNG mutated, and the checksums of its chunks made right as far as they can be found."""
    found, about = _several(data, rng, others)
    found, place = bytearray(found), len(_PNG)
    while place + 12 <= len(found):
        (size,) = struct.unpack_from(">I", found, place)
        end = place + 8 + size
        if end + 4 > len(found):
            break
        struct.pack_into(">I", found, end, zlib.crc32(found[place + 4 : end]))
        place = end + 4
    return Mutated(bytes(found), f"{about}, checksums made right")


_MUTATE_INSIDE: dict[str, Mutation] = {
    "gzip": _inside_gzip,
    "zip": _inside_zip,
    "png": _with_checksums,
}
