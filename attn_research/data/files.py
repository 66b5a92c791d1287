"""Text files read line by line, JSON, arrays, gzip and xz, and atomic writes of small files."""

import codecs
import contextlib
import gzip
import io
import itertools
import json
import lzma
import os
import re
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DEV_NAMES = ("dev", "val", "valid", "validation")  # of the development split
MAX_LINE = 1 << 24  # bytes; a longer line is no sentence, and may not fit the memory
MAX_CONTENT = 1 << 30  # bytes of a file that is read whole, decompressed
MAX_JSON = 1 << 24  # bytes; the index of 100,000 tensors has fewer
# NUL is in no text, but in UTF-16 and in binary files; the noncharacters stand in for characters
# that SentencePiece reserves (see `data.text.reserved`).
NO_TEXT = re.compile("[\0\ufdd0-\ufdd2]")

# How what is compressed begins, and what opens it.
_COMPRESSED = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\0": lzma.open}
_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_WIDE_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def user_path(path: str | Path) -> Path:
    """The path, with a leading `~` replaced by the user's home folder, as a shell does it.

    A shell leaves the `~` of --flag=~/folder alone, which would make a folder of that name.
    """
    return Path(os.path.expanduser(path))


def check_files(files: Mapping[str, str]) -> None:
    """ValueError or FileNotFoundError where the file of a split of --data=text is not there."""
    for split, name in files.items():
        if not name:
            raise ValueError(f"--data=text needs --{split}=FILE")
        if not user_path(name).is_file():
            raise FileNotFoundError(f"--{split}: no such file: {name}")


def find_dev(root: Path, suffix: str = "") -> Path:
    """The folder, or file, of the development split by one of its names, "dev" where there is none.

    ValueError where two are there.
    """
    there = [path for name in DEV_NAMES if (path := root / f"{name}{suffix}").exists()]
    if len(there) > 1:
        raise ValueError(f"{there[0]} and {there[1]} both are the development split: keep one")
    return there[0] if there else root / f"{DEV_NAMES[0]}{suffix}"


def read_lines(path: str | Path) -> Iterator[str]:
    """The lines of a UTF-8 file, plain, gzip or xz, without their ends, in constant memory.

    Lines are those of `decode_lines`; `~` is the user's home. Raises FileNotFoundError, or a
    ValueError that names the file and the line.
    """
    path = user_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    number = 0
    with open_content(path) as file:
        try:
            for number, line in enumerate(decode_lines(file, str(path)), 1):  # noqa: B007 (below)
                yield line
        except _DAMAGE as error:
            raise ValueError(
                f"{path}: damaged compressed file after line {number} ({error})"
            ) from None


def decode_lines(file: io.BufferedIOBase, name: str) -> Iterator[str]:
    """The lines of UTF-8 bytes, without their ends and without a byte-order mark.

    Only a newline, or a carriage return and a newline, ends a line: the other separators of Unicode
    occur inside the sentences of crawled corpora, and would misalign the two sides of a parallel
    text. Characters are left as they are, composed or not. A ValueError names `name` and the line
    of what is no UTF-8 text or is longer than MAX_LINE bytes.
    """
    for number in itertools.count(1):
        line = file.readline(MAX_LINE + 1)
        if not line:
            return
        where = f"{name}, line {number}"
        if number == 1:
            line = _without_mark(line, name)
            if not line:
                return
        if len(line) > MAX_LINE:
            raise ValueError(f"{where}: longer than {MAX_LINE:,} bytes; is it text?")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: not UTF-8 text ({error.reason})") from None
        check_characters(text, where)
        yield text.removesuffix("\r\n").removesuffix("\n")


def check_characters(text: str, where: str) -> None:
    """A ValueError for a character that stands in no text: NUL, or a reserved noncharacter."""
    if found := NO_TEXT.search(text):
        raise ValueError(
            f"{where}: holds the character U+{ord(found[0]):04X}, which no UTF-8 text does: "
            "convert the file to UTF-8, or remove the character"
        )


def one_line(error: Exception) -> str:
    """The message of an error on one line, its kind where it has none; the start of a long one."""
    return shorten(" ".join(str(error).split()) or type(error).__name__, 300)


def shorten(text: str, most: int = 40) -> str:
    """The text, or the start of a longer one and three dots."""
    return text if len(text) <= most else f"{text[:most]}..."


def name_some(paths: Sequence[Path], root: Path | None = None, count: int = 5) -> str:
    """The first of some paths, and how many more there are."""
    names = [str(path if root is None else path.relative_to(root)) for path in paths]
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _without_mark(line: bytes, name: str) -> bytes:
    """The first line of a file without its byte-order mark; a ValueError for a mark of UTF-16."""
    for mark, encoding in _WIDE_MARKS:
        if line.startswith(mark):
            raise ValueError(
                f"{name}: {encoding} text; convert it to UTF-8, as by iconv -f {encoding} -t UTF-8"
            )
    return line.removeprefix(codecs.BOM_UTF8)


def open_content(path: Path) -> io.BufferedIOBase:
    """A file open for reading, decompressed where it is gzip or xz."""
    with path.open("rb") as file:
        opener = _opener(file.read(max(map(len, _COMPRESSED))))
    return opener(path) if opener else path.open("rb")


def _opener(start: bytes) -> Callable[..., io.BufferedIOBase] | None:
    """What opens compressed data that begins so; None where it is not compressed."""
    return next((opener for magic, opener in _COMPRESSED.items() if start.startswith(magic)), None)


def read_content(path: Path, most: int | None = None) -> bytes:
    """The content of a file, decompressed where it is gzip or xz.

    A ValueError names a damaged file, or one of more than `most` bytes, MAX_CONTENT where None.
    """
    with open_content(path) as file:
        return _read(file, str(path), most)


def read_npz(path: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; nothing in it is run. Errors begin with `name`.

    FileNotFoundError, or ValueError for a file that is damaged or holds objects.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{name}: no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # of many kinds, where a file is damaged
        hint = "; save labels as np.array(labels, dtype=str)" * ("allow_pickle" in str(error))
        raise ValueError(f"{name} is no .npz of arrays ({one_line(error)}){hint}") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """The object of a JSON file; a ValueError names a file that holds something else."""
    size = path.stat().st_size
    if size > MAX_JSON:
        raise ValueError(f"{path}: {size:,} bytes, more than any JSON file of a checkpoint has")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({one_line(error)})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: holds a JSON {type(value).__name__}, not an object")
    return value


def decompress(data: bytes, name: str) -> bytes:
    """The data, decompressed where it is gzip or xz.

    A ValueError for damaged data has its `name`.
    """
    opener = _opener(data)
    return _read(opener(io.BytesIO(data)), name) if opener else data


def _read(file: io.BufferedIOBase, name: str, most: int | None = None) -> bytes:
    most = MAX_CONTENT if most is None else most
    try:
        content = file.read(most + 1)
    except _DAMAGE as error:
        raise ValueError(f"{name}: damaged compressed data ({error})") from None
    if len(content) > most:
        raise ValueError(f"{name}: more than {most:,} bytes when decompressed")
    return content


def write_whole(path: Path, data: bytes) -> None:
    """An atomic write: to a temporary file beside `path`, which is then renamed."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def whole_file(path: Path) -> Generator[Path, None, None]:
    """The path of a temporary file beside `path`, which takes its place once it is written.

    Where that fails the temporary file is removed and `path` is as it was. An OSError names it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        why = error.strerror or one_line(error)
        raise OSError(
            f"cannot write {path} ({why}); free space there or name another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
