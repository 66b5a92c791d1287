"""The lock of a run folder: one process at a time works there."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Generator
from pathlib import Path
from typing import TextIO

LOCK = "lock"


@contextlib.contextmanager
def locked(folder: Path) -> Generator[None]:
    """Holds the lock of a folder, which is made for it; ValueError while another process has it.

    The lock is the operating system's (`lockf`), so that it ends with its process, however that
    ends; the file says which process that is. On network file systems it needs their lock service,
    as NFS has it; where there is none, an OSError says so. A folder in which nothing else was
    written is removed again.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    with _open_locked(folder) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            _remove_empty(folder, made)


def _open_locked(folder: Path) -> TextIO:
    """The lock file of a folder, locked."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / LOCK).open("a+", encoding="utf-8")
        except OSError as error:
            raise OSError(
                f"cannot write to {folder} ({error.strerror}): name another --run_dir"
            ) from error
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, folder / LOCK):
                return file
        except (BlockingIOError, PermissionError):  # POSIX allows either
            with file:
                raise ValueError(_taken(folder, file)) from None
        except OSError as error:
            file.close()
            raise OSError(
                f"cannot lock {folder} ({error.strerror}), as on file systems without a lock "
                "service: name another --run_dir"
            ) from error
        file.close()  # whoever had it before removed it


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _taken(folder: Path, file: TextIO) -> str:
    file.seek(0)
    owner = file.read().strip() or "another process"
    words = owner.split()
    stop = f"stop it (kill {words[1]})" if words[0] == "process" else "stop it"
    return f"{folder} is in use by {owner}: wait for its end, {stop}, or name another --run_dir"


def _remove_empty(folder: Path, made: list[Path]) -> None:
    """Removes the folders that were made where nothing but the lock was written."""
    with contextlib.suppress(OSError):
        if made and [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            for each in made:
                each.rmdir()
