"""Small valid files of every kind that is read, for mutation: folders of contents by path."""

import gzip
import io
import itertools
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from attn_research.data.records import write_records
from attn_research.data.text.parallel import make_pair
from attn_research.data.text.tokenizers import SubwordTokenizer, WordTokenizer

Folder = Mapping[str, bytes]  # contents by path

SENTENCES = (
    "the cat sat on the mat .", "größe ünïcödé straße 日本", "a▁b c@@ d <s> ▅", "", "x " * 30,
    "don&apos;t say 1,234.50 &quot;", "e\u0301 \ufeff \u200d 🙂",
)  # fmt: skip
TREES = (
    "( (S (NP-SBJ-1 (DT The) (NN cat) ) (VP (VBD sat) (NP (-NONE- *-1) )) (. .) ))\n"
    "((NP (NP (NNP Paris) )))\n"
)
LANGUAGES = ("en", "de")


def images() -> list[Folder]:
    """An image file of each format and mode."""
    rng = np.random.default_rng(0)
    color = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    gray, wide = color.convert("L"), Image.fromarray(rng.integers(0, 65536, (9, 12), np.uint16))
    alpha, palette = color.convert("RGBA"), color.quantize(8)
    alpha.putalpha(gray)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"

    def several() -> dict:
        turned = color.transpose(Image.Transpose.ROTATE_180)
        return dict(save_all=True, append_images=[turned])

    ways = [
        (color, "PNG", dict(exif=exif, icc_profile=b"profile" * 9)), (gray, "PNG", {}),
        (wide, "PNG", {}), (alpha, "PNG", {}), (palette, "PNG", dict(transparency=2)),
        (gray.convert("1"), "PNG", {}), (alpha.convert("LA"), "PNG", {}), (color, "PNG", several()),
        (color, "JPEG", dict(exif=exif, quality=80)), (gray, "JPEG", dict(progressive=True)),
        (color.convert("CMYK"), "JPEG", {}), (color, "MPO", several()),
        (color, "GIF", several()), (palette, "GIF", dict(transparency=1)),
        (color, "BMP", {}), (palette, "BMP", {}), (gray.convert("1"), "BMP", {}),
        (color, "WEBP", {}), (alpha, "WEBP", dict(lossless=True)), (color, "WEBP", several()),
        (color, "TIFF", several()), (wide, "TIFF", {}), (gray.convert("1"), "TIFF", {}),
        (color, "TIFF", dict(compression="tiff_lzw")), (color, "TIFF", dict(compression="jpeg")),
        (color, "TIFF", dict(compression="tiff_adobe_deflate")), (palette, "TIFF", {}),
        (color.convert("CMYK"), "TIFF", dict(compression="packbits")),
        (color, "PPM", {}), (wide, "PPM", {}), (gray.convert("1"), "PPM", {}),
    ]  # fmt: skip
    found = []
    for image, kind, options in ways:
        file = io.BytesIO()
        image.copy().save(file, kind, **options)  # an image keeps some options of its last file
        found.append({f"image.{kind.lower()}": file.getvalue()})
    return [*found, {"image.pgm": b"P2\n# a comment\n3 2\n1000\n0 1 2\n3 400 1000\n"}]


def texts() -> list[Folder]:
    """Parallel text, plain and gzip, with and without a byte-order mark."""
    lines = "".join(f"{line}\n" for line in SENTENCES).encode()
    marked = b"\xef\xbb\xbf" + lines.replace(b"\n", b"\r\n")
    contents = lines, marked, _gzip(lines), _gzip(marked)
    both = [{"a.en": content, "a.de": content} for content in contents]
    return both + [{"a.en": content} for content in contents]  # both sides of one file


def trees() -> list[Folder]:
    """Bracketed trees, alone and in the archive of the treebank."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(180, 200):
            member = zipfile.ZipInfo(f"treebank/combined/wsj_{number:04}.mrg")
            archive.writestr(member, TREES, zipfile.ZIP_DEFLATED)
    return [{"trees.mrg": TREES.encode()}, {"treebank/treebank.zip": packed.getvalue()}]


def alignments() -> list[Folder]:
    """Sentences with gold links."""
    contents = {
        "src": "the cat sat .\na b c\n\u3000 x\n",
        "tgt": "die Katze saß .\nd e\ny z\n",
        "gold": "1-1 2-2 3p3 4-4\n1-1 2p1 3-2\n\n",
    }
    plain = {f"alignment/roen.{kind}.gz": text.encode() for kind, text in contents.items()}
    return [plain, {name: _gzip(content) for name, content in plain.items()}]


def tokenizers() -> list[Folder]:
    """A shortlist of words, and a model of subwords."""
    lines = [line for line in SENTENCES if line]
    made = [WordTokenizer.build(lines), SubwordTokenizer.train(lines * 2, vocab_size=90)]
    with tempfile.TemporaryDirectory() as folder:
        for number, tokenizer in enumerate(made):
            tokenizer.save(Path(folder) / str(number))
        found = [read_folder(Path(folder) / str(number)) for number in range(len(made))]
    # A model of an earlier version, whose content has no checksum.
    return [*found, found[1] | {"tokenizer.json": json.dumps({"kind": "subwords"}).encode()}]


def records() -> list[Folder]:
    """Encoded pairs in two shards."""
    pairs = [make_pair(*sides) for sides in itertools.pairwise(SENTENCES)]
    words = WordTokenizer.build(line for pair in pairs for line in pair[:2])
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "records"
        write_records(pairs * 4, words, words, place, languages=LANGUAGES, shard_size=10)
        return [read_folder(place)]


def archives() -> list[Folder]:
    """A few images of MNIST as idx files and of CIFAR-10 as its binary version, and as arrays."""
    rng = np.random.default_rng(0)
    idx, arrays = {}, {}
    for name, title, count in (("train", "train10k", 12), ("t10k", "test", 3)):
        pixels, labels = rng.integers(0, 9, (count, 28, 28), np.uint8), np.arange(count) % 10
        for kind, array in (("images-idx3", pixels), ("labels-idx1", labels.astype(np.uint8))):
            sizes = np.array(array.shape, ">u4").tobytes()
            content = bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()
            idx[f"mnist/{name}-{kind}-ubyte.gz"] = _gzip(content)
        arrays[f"mnist/{title}.npz"] = _npz(images=pixels, labels=labels.astype(np.uint8))
    batches = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    rows = {name: bytes([number]) + bytes(3072) for number, name in enumerate(batches)}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, row in rows.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(row)
            archive.addfile(member, io.BytesIO(row))
    return [
        idx,
        arrays,
        {"cifar10/cifar-10-binary.tar.gz": _gzip(packed.getvalue())},
        {f"cifar10/cifar-10-batches-bin/{name}": row for name, row in rows.items()},
        {f"cifar10/{name}_jpeg.npz": _jpegs(12) for name in ("train", "test")},
    ]


def _gzip(content: bytes) -> bytes:
    """The content as gzip, without the time of day."""
    return gzip.compress(content, mtime=0)


def _jpegs(count: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(file, "JPEG")
    one = np.frombuffer(file.getvalue(), np.uint8)
    ends, labels = np.arange(count + 1) * len(one), np.arange(count, dtype=np.uint8) % 10
    return _npz(jpeg=np.tile(one, count), offsets=ends, labels=labels)


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def read_folder(folder: Path) -> dict[str, bytes]:
    """The contents of the files below a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
