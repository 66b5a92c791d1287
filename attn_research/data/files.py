"""Text files read line by line, gzip, and atomic writes of small files."""

import contextlib
import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

_GZIP_MAGIC = b"\x1f\x8b"


def read_lines(path: str | Path) -> Iterator[str]:
    """The lines of a UTF-8 file, plain or gzip, without their ends, in constant memory.

    Only a newline ends a line: the other separators of Unicode occur inside the sentences of
    crawled corpora, and would misalign the two sides of a parallel text. Raises
    FileNotFoundError, or a ValueError that names the file and the line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    with path.open("rb") as file:
        opener = gzip.open if file.read(2) == _GZIP_MAGIC else open
    number = 0
    with opener(path, "rb") as file:
        try:
            for number, line in enumerate(file, 1):  # noqa: B007 (the errors below name it)
                yield line.decode().removesuffix("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {number}: not UTF-8 text ({error.reason})") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip file after line {number} ({error})") from None


def read_content(path: Path) -> bytes:
    """The content of a small file, decompressed where it is gzip."""
    return decompress(path.read_bytes(), str(path))


def decompress(data: bytes, name: str) -> bytes:
    """The data, decompressed where it is gzip; a ValueError for damaged data has its `name`."""
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{name}: damaged gzip data ({error})") from None


def write_whole(path: Path, data: bytes) -> None:
    """An atomic write: to a temporary file beside `path`, which is then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OSError(
            f"cannot write {path} ({error.strerror}); free space there or name another folder"
        ) from error
