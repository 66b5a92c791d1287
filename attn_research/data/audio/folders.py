"""Folders of sound files: in folders of classes, or with a transcript of each."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attn_research.data.audio.files import RATE, SUFFIXES, AudioFiles
from attn_research.data.audio.utterances import Corpus, Recordings
from attn_research.data.files import find_dev, name_some, read_lines

IN_MEMORY = 2 * 3600 * RATE  # samples of a split that are kept; files of a longer one are read anew
SPLITS = ("train", "dev", "test")


class Said(NamedTuple):
    """A sound file, and its class or its transcript."""

    path: Path
    text: str


def read_classes(root: Path) -> Corpus:
    """The sounds train/CLASS/*, test/CLASS/* and, or a tenth of train, dev/CLASS/*.

    dev may be called val, valid or validation. ValueError or FileNotFoundError for what is missing,
    for a sound outside of a class, for a class that train does not have, or only in the tenth that
    is held out, and for what `read_audio` does not read. Other folders are named in a warning.
    """
    folders = {"train": root / "train", "dev": find_dev(root), "test": root / "test"}
    found = {split: list(_of_classes(folder)) for split, folder in folders.items()}
    others = [x for x in sorted(root.iterdir()) if x.is_dir() and x not in folders.values()]
    if others := [x for x in others if not x.name.startswith(".")]:
        logging.getLogger(__name__).warning(
            "%s: not read, as no split: %s", root, name_some(others, root)
        )
    known = {said.text for said in found["train"]}
    for split in ("dev", "test"):
        if unknown := sorted({said.text for said in found[split]} - known):
            raise ValueError(
                f"{folders[split]} holds the class {unknown[0]}, which {root / 'train'} does not"
            )
    corpus = _corpus(root, found, "CLASS/*.wav")
    if lost := sorted(known - set(corpus.train.texts)):
        raise ValueError(
            f"{root / 'train' / lost[0]}: all of its sounds are in the tenth that is held out: "
            f"give more, or some in {root / 'dev'}"
        )
    return corpus


def read_transcripts(root: Path) -> Corpus:
    """The sounds that train.tsv, test.tsv and, or a tenth of train, dev.tsv or val.tsv name.

    A line has the name of a file, relative to the folder, a tab, and what is said. ValueError or
    FileNotFoundError for a line without a file or a transcript, for a sound that two lines name,
    and for what `read_audio` does not read. Sounds in the folder without a line are named in a
    warning.
    """
    files = {"train": "train.tsv", "dev": find_dev(root, ".tsv").name, "test": "test.tsv"}
    found = {split: list(_of_lines(root, name)) for split, name in files.items()}
    seen: set[Path] = set()
    for split in SPLITS:
        for said in found[split]:
            if said.path in seen:
                raise ValueError(f"{root}: two lines name {said.path.relative_to(root)}: keep one")
            seen.add(said.path)
    there = {path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES}
    if unread := sorted(there - seen, key=str):
        logging.getLogger(__name__).warning(
            "%s: not read, for no line names them: %s", root, name_some(unread, root)
        )
    return _corpus(root, found, "TAB-separated lines of a file and its transcript")


def _of_classes(folder: Path):
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        parts = path.relative_to(folder).parts
        if not path.is_file() or any(part.startswith(".") for part in parts):
            continue
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{path} is no sound file: convert it to WAV, or remove it")
        if len(parts) == 1:
            raise ValueError(f"{path} stands in no folder of a class: move it, or remove it")
        yield Said(path, parts[0])


def _of_lines(root: Path, name: str):
    path = root / name
    for number, line in enumerate(read_lines(path) if path.is_file() else (), 1):
        if not line.strip():
            continue
        file, tab, text = line.partition("\t")
        text = " ".join(text.split())
        if not tab or not text:
            raise ValueError(f"{path}, line {number}: give FILE, a tab and what is said")
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise ValueError(f"{path}, line {number}: {file} is not below {root}: name files in it")
        if not (root / file).is_file():
            raise FileNotFoundError(f"{path}, line {number}: no such file: {root / file}")
        yield Said(root / file, text)


def _corpus(root: Path, found: dict[str, list[Said]], wanted: str) -> Corpus:
    """The recordings of each split; a tenth of train is dev where there is no dev."""
    for split in ("train", "test"):
        if not found[split]:
            raise FileNotFoundError(
                f"--audio_dir={root}: no sounds of {split}; give {split} as {wanted}"
            )
    if not found["dev"]:
        if len(found["train"]) < 10:
            raise ValueError(f"{root}: too few sounds in train to hold out a tenth: give some dev")
        order = np.random.default_rng(0).permutation(len(found["train"]))
        shuffled = [found["train"][i] for i in order]
        count = len(shuffled) // 10
        found |= {"dev": shuffled[:count], "train": shuffled[count:]}
    return Corpus(*(_record(found[split]) for split in SPLITS))


def _record(said: Sequence[Said]) -> Recordings:
    files = AudioFiles([one.path for one in said])
    sounds, total = [], 0
    for sound in files:  # a broken file is to be known before training
        total += len(sound)
        if total <= IN_MEMORY:
            sounds.append(sound)
    kept = sounds if total <= IN_MEMORY else files
    return Recordings(kept, [one.text for one in said], files=files.paths)
