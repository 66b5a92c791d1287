"""A program of the command line starts again with huge pages, where that does something."""

import os
import platform
import sys

import pytest

from experiments import huge_pages


@pytest.fixture
def started(monkeypatch, tmp_path):
    """What a restart starts: the words and GLIBC_TUNABLES; on a system that has huge pages."""
    found = []
    monkeypatch.setattr(
        os, "execv", lambda path, words: found.append((words, os.environ["GLIBC_TUNABLES"]))
    )
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(huge_pages, "SUPPORT", tmp_path / "enabled")
    huge_pages.SUPPORT.write_text("always [madvise] never\n")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=0")
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "experiments.vit2020", "--row=small"])
    return found


def test_a_program_starts_again_with_its_words_and_what_was_told(started):
    huge_pages.restart()
    ((words, told),) = started
    assert words == [sys.executable, "-m", "experiments.vit2020", "--row=small"]
    assert told == "glibc.malloc.check=0:glibc.malloc.hugetlb=1"
    huge_pages.restart()
    assert len(started) == 1  # the second program does not start a third


@pytest.mark.parametrize(
    "words",
    [
        ["python", "-m", "pytest"],
        ["python", "mine.py", "-m", "experiments.vit2020"],
        ["python", "-c", "import experiments"],
        ["python", "-m"],
    ],
)
def test_other_programs_are_left_alone(started, monkeypatch, words):
    monkeypatch.setattr(sys, "orig_argv", words)
    huge_pages.restart()
    assert not started


@pytest.mark.parametrize(
    "library, support",
    [
        (("glibc", "2.36"), "[always] madvise never"),
        (("glibc", "2.36"), "always madvise [never]"),
        (("glibc", "2.36"), None),
        (("glibc", "2.31"), "always [madvise] never"),
        (("musl", "1.2"), "always [madvise] never"),
        (("", ""), "always [madvise] never"),
    ],
)
def test_only_where_the_system_gives_them_if_asked(started, monkeypatch, library, support):
    monkeypatch.setattr(platform, "libc_ver", lambda: library)
    huge_pages.SUPPORT.unlink()
    if support is not None:
        huge_pages.SUPPORT.write_text(support)
    huge_pages.restart()
    assert not started


def test_small_pages_are_a_choice(started, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    huge_pages.restart()
    assert not started
