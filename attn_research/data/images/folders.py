"""Folders of labelled images, SPLIT/CLASS/*: which files are read, and what is named and refused.

A class is a folder of train; its images stand in it at any depth, so that CLASS/SERIES/1.png is
one of CLASS. Files and folders that systems and editors leave behind are passed over: hidden ones,
which begin with a dot (.ipynb_checkpoints, ._1.png, .DS_Store), and those of PASSED_OVER, such as
the previews in @eaDir. So are texts beside the images, such as labels.csv, and folders that are no
split. One warning names them.

Whatever else would be left out or would move a label is a ValueError that names it: a file of
another kind, an image outside of a class, a class that train does not have or has in two spellings.
"""

import logging
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from attn_research.data.files import find_dev, name_some
from attn_research.data.images.files import SUFFIXES

PASSED_OVER = frozenset(
    name.casefold()
    for name in (
        "__MACOSX", "@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot",
        "$RECYCLE.BIN", "System Volume Information", "lost+found", "Thumbs.db", "ehthumbs.db",
        "desktop.ini", "Icon\r", "__pycache__",
    )
)  # fmt: skip
TEXTS = (
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".html", ".pdf",
    ".sha256", ".md5", ".log",
)  # fmt: skip


class LabelledFiles(NamedTuple):
    """The classes of a folder, and by split the image files with the numbers of their classes."""

    classes: tuple[str, ...]
    splits: dict[str, list[tuple[Path, int]]]


class _Found(NamedTuple):
    """The image files below a folder, and what was passed over."""

    images: list[Path]
    passed_over: list[Path]


def list_images(root: Path) -> LabelledFiles:
    """The labelled image files of a folder with train, test and, or not, dev (or val)."""
    folders = {"train": root / "train", "dev": find_dev(root), "test": root / "test"}
    found, passed_over = {}, _no_splits(root, folders)
    for split, folder in folders.items():
        found[split], names = _read_split(folder)
        passed_over += names
        if not found["train"]:
            raise FileNotFoundError(
                f"{root / 'train'} holds no folder of images: --image_dir names a folder with "
                "train/CLASS/* and test/CLASS/*"
            )
        if split != "dev" and not any(found[split].values()):
            classes = ", ".join(sorted(found["train"]))
            raise FileNotFoundError(f"{folder} holds no images of {classes}")
    _check_classes(folders, found)
    if passed_over:
        logging.getLogger(__name__).warning(
            "%s: not read, as hidden, previews, texts or no split: %s",
            root,
            name_some(passed_over, root),
        )
    classes = tuple(sorted(found["train"]))
    labels = {name: label for label, name in enumerate(classes)}
    return LabelledFiles(
        classes,
        {
            split: [(path, labels[name]) for name in classes for path in names.get(name, ())]
            for split, names in found.items()
        },
    )


def _no_splits(root: Path, splits: Mapping[str, Path]) -> list[Path]:
    """The folders beside those of the splits."""
    if not root.is_dir():
        return []
    known = set(splits.values())
    return [path for path in sorted(root.iterdir()) if path.is_dir() and path not in known]


def _read_split(folder: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """The image files of each class of a split, and what was passed over; none if it is absent."""
    if not folder.is_dir():
        return {}, []
    found, (loose, passed_over) = {}, _sort(sorted(folder.iterdir()))
    for path in loose:
        if not path.is_dir():
            raise ValueError(f"{path} stands in no folder of a class: move it, or remove it")
        found[path.name], names = _sort(_files_below(path))
        passed_over += names
    return found, passed_over


def _sort(paths: Iterable[Path]) -> _Found:
    """Images and folders, and what is passed over; a ValueError names files of other kinds."""
    found, others = _Found([], []), []
    for path in paths:
        if _is_left_behind(path.name):
            found.passed_over.append(path)
        elif path.is_dir() or (path.suffix.lower() in SUFFIXES and path.is_file()):
            found.images.append(path)
        elif path.suffix.lower() in TEXTS and path.is_file():
            found.passed_over.append(path)
        else:
            others.append(path)
    if others:
        raise ValueError(
            f"{name_some(others)}: no image file that is read; convert it to one of "
            f"{' '.join(SUFFIXES)}, or remove it"
        )
    return found


def _files_below(folder: Path) -> Iterator[Path]:
    """The files below a folder, in order, and what is passed over.

    A folder that links lead to again is read once.
    """
    seen = set()
    for place, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        here = os.path.realpath(place)
        if here in seen:
            folders.clear()
            continue
        seen.add(here)
        yield from (Path(place, name) for name in sorted(folders) if _is_left_behind(name))
        folders[:] = sorted(name for name in folders if not _is_left_behind(name))
        yield from (Path(place, name) for name in sorted(names))


def _raise(error: OSError) -> None:
    raise error


def _is_left_behind(name: str) -> bool:
    hidden = name.startswith(".") or name.endswith(":Zone.Identifier")
    return hidden or name.casefold() in PASSED_OVER


def _check_classes(folders: dict[str, Path], found: dict[str, dict[str, list[Path]]]) -> None:
    """A ValueError for a class that train does not have, or has in two spellings."""
    spellings: dict[str, str] = {}
    for name in sorted(found["train"]):
        other = spellings.setdefault(_fold(name), name)
        if other != name:
            raise ValueError(
                f"{folders['train'] / name} and {folders['train'] / other} are one class in two "
                "spellings: move the images of one to the other"
            )
    for split, classes in found.items():
        unknown = sorted(classes.keys() - found["train"].keys())
        for name in unknown:
            if _fold(name) in spellings:
                raise ValueError(
                    f"{folders[split] / name} is called {spellings[_fold(name)]} in "
                    f"{folders['train']}: give both one spelling"
                )
        if unknown:
            raise ValueError(
                f"{folders[split]} holds classes that {folders['train']} does not: "
                f"{', '.join(unknown)}; put images of them there, or remove the folders"
            )


def _fold(name: str) -> str:
    """What spellings of a name have in common: its letters, whatever their case and composition."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
