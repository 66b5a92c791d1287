"""The folder of data sets, and downloads of missing files with checksums."""

import hashlib
import http.client
import os
import urllib.request
from pathlib import Path

from attn_research.data.files import decompress, read_content, user_path, write_whole

DATA_DIR_VARIABLE = "ATTN_DATA_DIR"


def find_data_dir(data_dir: str | Path | None = None) -> Path:
    """The folder of data sets: the one named, ATTN_DATA_DIR, or the user's cache folder.

    A named folder has to exist, so that a misspelt one is an error and not a download.
    """
    named = data_dir or os.environ.get(DATA_DIR_VARIABLE)
    if not named:
        return Path.home() / ".cache" / "attn_research"
    folder = user_path(named)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"data folder {folder} does not exist: correct --data_dir or {DATA_DIR_VARIABLE}"
        )
    return folder


def find_data_file(name: str, data_dir: str | Path | None = None) -> Path:
    """The path of a file in the data folder (see `find_data_dir`) that cannot be downloaded.

    `name` is relative to that folder. A FileNotFoundError names the file and the way out.
    """
    path = find_data_dir(data_dir) / name
    if not path.is_file():
        raise FileNotFoundError(
            f"no such file: {path}; it cannot be downloaded: put it there, or name the folder that "
            f"holds your data with --data_dir or {DATA_DIR_VARIABLE}"
        )
    return path


def read_checked(path: Path, sha256: str) -> bytes:
    """The content of a file, decompressed where it is gzip, if it has the expected SHA-256."""
    content = read_content(path)
    _check(content, sha256, str(path))
    return content


def fetch(url: str, path: Path, sha256: str, timeout: float = 30.0) -> bytes:
    """The download of a small file to `path`: its content, decompressed where it is gzip.

    The SHA-256 is that of the decompressed content; `timeout` is in seconds and holds for each
    wait for the server. The file appears under its name only once it is whole and checked.
    """
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            data = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise FileNotFoundError(
            f"{path} does not exist and cannot be downloaded from {url} ({error}); put the file "
            f"there, or name the folder that holds your data with --data_dir or {DATA_DIR_VARIABLE}"
        ) from None
    content = decompress(data, url)
    _check(content, sha256, url)
    write_whole(path, data)
    return content


def _check(content: bytes, expected: str, name: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(
            f"{name}: its content has SHA-256 {found} and should have {expected}; "
            f"replace it, or remove it so that it is downloaded again"
        )
