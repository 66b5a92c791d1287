"""Flags that are paths: a leading ~ is the user's home, as in a shell."""

import os

from absl import flags


class PathParser(flags.ArgumentParser):
    """A path, or several with commas."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        return expand(argument)


def expand(text: str) -> str:
    """The path, or several with commas, with homes in place of ~; ValueError where one is unknown.

    A shell expands ~ at the beginning of a word alone, and leaves that of --flag=~/folder to us.
    """
    found = [os.path.expanduser(part) for part in text.split(",")]
    if unknown := [part for part in found if part.startswith("~")]:
        raise ValueError(f"there is no home folder {unknown[0].partition('/')[0]}")
    return ",".join(found)


def define_path(name: str, default: str | None, text: str) -> None:
    """Defines a flag that is a path, or several with commas."""
    flags.DEFINE(PathParser(), name, default, text)
