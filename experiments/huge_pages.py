"""Huge pages for the memory of programs that the command line starts.

XLA takes the memory of a step from malloc and gives it back at the end, so that the kernel clears
and maps it anew in every step, page by page; pages of 2 MiB are 512 times fewer. glibc asks for
them only where it is told to before a program starts. They change no result.
"""

import os
import platform
import sys
from pathlib import Path

TUNABLE = "glibc.malloc.hugetlb"
SUPPORT = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart() -> None:
    """Starts this program again with huge pages, where it is `python -m experiments...`.

    Nothing is done where the system has none or gives them unasked, and where the environment
    variable GLIBC_TUNABLES says which pages to use: "glibc.malloc.hugetlb=0" for small ones.
    """
    if not _is_ours(sys.orig_argv) or not sys.executable:
        return
    told = os.environ.get("GLIBC_TUNABLES", "")
    if TUNABLE in told or not _are_given_if_asked():
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, (told, f"{TUNABLE}=1")))
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _is_ours(words: list[str]) -> bool:
    """Whether a command line runs a module of this package, with options of Python alone before."""
    if "-m" not in words[:-1]:
        return False
    place = words.index("-m")
    plain = all(word.startswith("-") for word in words[1:place])
    return plain and words[place + 1].split(".")[0] == "experiments"


def _are_given_if_asked() -> bool:
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split(".")[:2])) < (2, 35):
        return False
    try:
        return "[madvise]" in SUPPORT.read_text()
    except OSError:
        return False
