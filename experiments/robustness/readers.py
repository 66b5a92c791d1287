"""The readers of files, each with valid files to mutate.

A reader reads a folder and returns nothing. It raises a ValueError or an OSError that names a file
of the folder in one line, or reads what is there; a WrongRead says that it read what it must not.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from attn_research.data.files import read_lines
from attn_research.data.images.datasets import load_images
from attn_research.data.images.files import ImageFiles
from attn_research.data.records import Records
from attn_research.data.text.aligned import AlignedText
from attn_research.data.text.parallel import TextFiles
from attn_research.data.text.saved_tokenizers import load_tokenizer
from attn_research.data.text.tokenizers import (
    UNK,
    SubwordTokenizer,
    WordTokenizer,
)
from attn_research.data.text.treebank import (
    Treebank,
    clean,
    from_linear,
    linearize,
    parse_trees,
)
from attn_research.pretrained.checkpoint import read_checkpoint
from attn_research.pretrained.formats.ctranslate2 import read_ctranslate2
from attn_research.pretrained.formats.gguf import read_gguf
from attn_research.pretrained.formats.safetensors import read_safetensors
from attn_research.pretrained.formats.torch import read_torch
from attn_research.pretrained.tensors import StoredTensor, Tensors
from experiments.robustness import samples, weight_files
from experiments.robustness.samples import Folder

MIB = 1 << 20


class WrongRead(Exception):
    """Damage that was read as if it were sound."""


class Reader(NamedTuple):
    """Valid folders, the function that reads one, and the memory that it may take for a while."""

    samples: Callable[[], Sequence[Folder]]
    read: Callable[[Path], None]
    memory: int = 256 * MIB


def expect(holds: bool | None, what: str) -> None:
    """A WrongRead where something does not hold of what was read."""
    if not holds:
        raise WrongRead(what)


def _read_image(folder: Path) -> None:
    (path,) = folder.iterdir()
    expect(ImageFiles((path,), 8)[:].shape == (1, 8, 8, 3), "the shape of an image")


def _read_text(folder: Path) -> None:
    names = [folder / name for name in ("a.en", "a.de") if (folder / name).exists()]
    corpus = TextFiles(("en", "de"), {"train": (names[0], names[-1])})
    lines = [line for pair in corpus.split("train") for line in pair[:2] if line]
    if not lines:
        return
    words, subwords = WordTokenizer.build(lines), _subwords()
    for line in lines:
        expect(words.decode(words.encode(line)) == line, f"words of {line[:80]!r}")
        ids = subwords.encode(line)
        expect(UNK in ids or subwords.decode(ids) == line, f"subwords of {line[:80]!r}")


@cache
def _subwords() -> SubwordTokenizer:
    lines = [line for line in samples.SENTENCES if line]
    return SubwordTokenizer.train(lines * 2, vocab_size=90)


def _read_trees(folder: Path) -> None:
    path = folder / "trees.mrg"
    if path.exists():
        trees = map(clean, parse_trees("\n".join(read_lines(path)), str(path)))
    else:
        trees = Treebank(folder).trees("test")
    for tree in trees:
        if tree is not None:
            line = linearize(tree)
            count = linearize(from_linear(line, tree.words).tree).split(" ").count("XX")
            expect(count == len(tree.words), f"words of {line[:80]!r}")


def _read_alignments(folder: Path) -> None:
    for pair in AlignedText("roen", folder).split("test"):
        sizes = len(pair.source.split()), len(pair.target.split())
        inside = (i < sizes[0] and j < sizes[1] for i, j in pair.sure | pair.possible)
        expect(all(inside), f"links of {pair.source[:80]!r}")


def _read_tokenizer(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    for line in ("the cat", "☃ ▁"):
        ids = tokenizer.encode(line)
        expect(max(ids, default=0) < tokenizer.vocab_size, f"ids {ids}")
        tokenizer.decode(ids)


def _read_records(folder: Path) -> None:
    records = Records(folder)
    for number, (source, target) in enumerate(records):
        lengths = [len(source), len(target)]
        expect(lengths == records.lengths[number].tolist(), f"lengths of record {number}")


def _read_archives(folder: Path) -> None:
    for name in ("mnist", "cifar10"):
        if (folder / name).is_dir():
            for split in load_images(name, folder).values():
                expect(len(split.images) == len(split.labels), "labels of images")
                expect(split.labels.max(initial=0) < 10, "labels")


def _read_weights(read: Callable[[Path], Mapping[str, StoredTensor]], folder: Path) -> None:
    (path,) = folder.iterdir()
    _read_tensors(Tensors(read(path), path), path.stat().st_size)


def _gguf_tensors(path: Path) -> Mapping[str, StoredTensor]:
    return read_gguf(path).tensors


def _ctranslate2_tensors(path: Path) -> Mapping[str, StoredTensor]:
    return read_ctranslate2(path).tensors


def _read_published(folder: Path) -> None:
    sizes = [path.stat().st_size for path in folder.iterdir()]
    checkpoint = read_checkpoint(folder)
    checkpoint.architectures()
    _read_tensors(checkpoint.tensors, sum(sizes))


def _read_tensors(tensors: Tensors, size: int) -> None:
    """Reads tensors of a file of some size, in which a weight takes four bits or more."""
    for name in tensors:
        array = tensors[name]
        expect(array.shape == tensors.shape(name), f"the shape of {name[:80]!r}")
        expect(array.dtype == tensors.dtype(name), f"the dtype of {name[:80]!r}")
        expect(array.size <= 2 * size, f"more numbers in {name[:80]!r} than the file can hold")
    expect(not tensors.unread(), "a tensor that was not read")


def _checkpoints() -> Sequence[Folder]:
    from experiments.robustness import damaged_checkpoints  # which imports jax

    return damaged_checkpoints.samples()


def _read_checkpoints(folder: Path) -> None:
    from experiments.robustness import damaged_checkpoints

    expect(damaged_checkpoints.is_sound(folder), "a checkpoint other than those saved")


READERS = {
    "image": Reader(samples.images, _read_image, 1280 * MIB),  # one of MAX_PIXELS takes a GiB
    "text": Reader(samples.texts, _read_text),
    "tree": Reader(samples.trees, _read_trees),
    "alignment": Reader(samples.alignments, _read_alignments),
    "tokenizer": Reader(samples.tokenizers, _read_tokenizer),
    "record": Reader(samples.records, _read_records),
    "archive": Reader(samples.archives, _read_archives, 768 * MIB),
    "checkpoint": Reader(_checkpoints, _read_checkpoints),
    "safetensors": Reader(weight_files.safetensors, partial(_read_weights, read_safetensors)),
    "torch": Reader(weight_files.torch, partial(_read_weights, read_torch)),
    "gguf": Reader(weight_files.gguf, partial(_read_weights, _gguf_tensors)),
    "ctranslate2": Reader(weight_files.ctranslate2, partial(_read_weights, _ctranslate2_tensors)),
    "published": Reader(weight_files.published, _read_published),
}
