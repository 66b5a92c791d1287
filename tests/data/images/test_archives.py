"""MNIST and CIFAR-10 as their authors offer them, small, whole and damaged."""

import gzip
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest

from attn_research.data.images.datasets import load_images
from tests.data.images.copies import write_jpegs

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def write_idx(path, array):
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def make_mnist(folder, spell=str):
    """Forty images to train and five to test, and what they hold."""
    rng, found = np.random.default_rng(0), {}
    for split, count in (("train", 40), ("test", 5)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = rng.integers(0, 10, count, np.uint8)
        for name, array in zip(FILES[split], (images, labels), strict=True):
            write_idx(folder / spell(name), array)
        found[split] = images, labels
    return found


SPELLINGS = {
    "plain": str,
    "gzip": lambda name: f"{name}.gz",
    "with a dot": lambda name: name.replace("-idx", ".idx"),
    "with a dot, gzip": lambda name: f"{name.replace('-idx', '.idx')}.gz",
    "some": lambda name: f"{name}.gz" if "images" in name else name.replace("-idx", ".idx"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("place", ["mnist", "MNIST/raw", ""])
def test_mnist_is_read_as_its_authors_offer_it(tmp_path, spelling, place):
    expected = make_mnist(tmp_path / place, SPELLINGS[spelling])
    splits = load_images("mnist", tmp_path)
    assert [len(splits[name]) for name in ("train", "dev", "test")] == [36, 4, 5]
    images = np.concatenate([splits[name].images for name in ("train", "dev")])
    np.testing.assert_array_equal(images[..., 0], expected["train"][0])
    np.testing.assert_array_equal(splits["test"].labels, expected["test"][1])
    assert splits["test"].classes == tuple("0123456789")
    assert (splits["test"].copy, splits["test"].lossy) == ("idx", "")


def test_a_file_of_mnist_that_is_missing_is_named(tmp_path):
    make_mnist(tmp_path / "mnist")
    (tmp_path / "mnist" / FILES["test"][1]).unlink()
    with pytest.raises(FileNotFoundError, match=r"mnist/t10k-labels-idx1-ubyte is missing.*gz"):
        load_images("mnist", tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], r"31,359 values, not the \(40, 28, 28\)"),
        (lambda data: data + b"\0", "31,361 values"),
        (lambda data: data[:5], "no idx file of bytes with 3 axes"),
        (lambda data: b"", "no idx file"),
        (lambda data: b"\0\0\x0d\3" + data[4:], "no idx file"),
        (lambda data: b"<html>404</html>" * 99, "no idx file"),
        (lambda data: data[:4] + b"\xff" * 12 + data[16:], "31,360 values"),
        (lambda data: data[:4] + bytes(12), "0 values"),
        (lambda data: gzip.compress(data)[:-9], "damaged compressed data"),
        (lambda data: b"\x1f\x8b" + data, "damaged compressed data"),
    ],
)
def test_a_damaged_file_of_mnist_is_named(tmp_path, damage, message):
    make_mnist(tmp_path / "mnist")
    path = tmp_path / "mnist" / FILES["train"][0]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        ValueError, match=rf"train-images-idx3-ubyte.*{message}.*: download it again"
    ):
        load_images("mnist", tmp_path)


def test_labels_of_mnist_are_checked(tmp_path):
    make_mnist(tmp_path / "mnist")
    path = tmp_path / "mnist" / FILES["train"][1]
    write_idx(path, np.full(40, 10, np.uint8))
    with pytest.raises(ValueError, match="idx1-ubyte holds the label 10, and there are 10 classes"):
        load_images("mnist", tmp_path)
    write_idx(path, np.zeros(39, np.uint8))
    with pytest.raises(ValueError, match="has 40 images for 39 labels"):
        load_images("mnist", tmp_path)
    write_idx(path, np.zeros(40, np.uint8))
    write_idx(path.with_name(FILES["test"][0]), np.zeros((5, 9, 9), np.uint8))
    with pytest.raises(ValueError, match="hold images of two sizes"):
        load_images("mnist", tmp_path)


def make_cifar10(count=8):
    """The files of the binary version, and the images and labels of train."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, (6, count), np.uint8)
    images = rng.integers(0, 256, (6, count, 32, 32, 3), np.uint8)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    planes = images.transpose(0, 1, 4, 2, 3).reshape(6, count, -1)
    rows = np.concatenate([labels[..., None], planes], axis=2)
    files = {name: batch.tobytes() for name, batch in zip(names, rows, strict=True)}
    return files, images[:5].reshape(-1, 32, 32, 3), labels[:5].ravel()


def write_archive(path, files, mode="w:gz"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, data in {"readme.html": b"<html>", **files}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_folder(path, files):
    path.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (path / name).write_bytes(data)


WAYS = {
    "archive": lambda root, files: write_archive(root / "cifar-10-binary.tar.gz", files),
    "plain archive": lambda root, files: write_archive(root / "cifar-10-binary.tar", files, "w"),
    "extracted": lambda root, files: write_folder(root / "cifar-10-batches-bin", files),
    "files": write_folder,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["cifar10", ""])
def test_cifar10_is_read_as_its_authors_offer_it(tmp_path, way, place):
    files, images, labels = make_cifar10()
    WAYS[way](tmp_path / place, files)
    splits = load_images("cifar10", tmp_path)
    assert [len(splits[name]) for name in ("train", "dev", "test")] == [36, 4, 8]
    both = [splits["train"], splits["dev"]]
    np.testing.assert_array_equal(np.concatenate([one.images for one in both]), images)
    np.testing.assert_array_equal(np.concatenate([one.labels for one in both]), labels)
    assert splits["test"].classes[3] == "cat"
    assert (splits["test"].copy, splits["test"].lossy) == ("binary", "")


@pytest.mark.parametrize(
    "name", ["cifar-10-python.tar.gz", "cifar-10-batches-py", "cifar-10-matlab.tar.gz"]
)
def test_the_pickled_version_is_refused_with_the_name_of_the_binary_one(
    tmp_path, name, monkeypatch
):
    monkeypatch.setattr(pickle, "load", None)
    path = tmp_path / "cifar10" / name
    path.parent.mkdir()
    path.touch() if "tar" in name else path.mkdir()
    with pytest.raises(
        ValueError, match=rf"{name} holds pickles.*never loaded.*-10-binary\.tar\.gz"
    ):
        load_images("cifar10", tmp_path)
    files, *_ = make_cifar10()
    write_archive(tmp_path / "cifar10" / "cifar-10-binary.tar.gz", files)
    assert len(load_images("cifar10", tmp_path)["test"]) == 8


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda files: files.pop("data_batch_3.bin"), r"holds no data_batch_3\.bin"),
        (lambda files: files.update({"test_batch.bin": b""}), r"test_batch\.bin has 0 bytes"),
        (
            lambda files: files.update({"data_batch_2.bin": files["data_batch_2.bin"][:-1]}),
            "24,583 by",
        ),
        (
            lambda files: files.update({"data_batch_2.bin": files["data_batch_2.bin"][3073:]}),
            "21,511",
        ),
        (lambda files: files.update({"test_batch.bin": b"\x0a" * 3073}), "holds the label 10"),
    ],
)
@pytest.mark.parametrize("way", ["archive", "extracted"])
def test_damaged_batches_of_cifar10_are_named(tmp_path, damage, message, way):
    files, *_ = make_cifar10()
    damage(files)
    WAYS[way](tmp_path / "cifar10", files)
    with pytest.raises(ValueError, match=rf"cifar-10-.*{message}.*: download it again"):
        load_images("cifar10", tmp_path)


@pytest.mark.parametrize("cut", [0, 20, 5000, -20])
def test_a_damaged_archive_of_cifar10_is_named(tmp_path, cut):
    path = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    write_archive(path, make_cifar10()[0])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"binary\.tar\.gz .*: download it again"):
        load_images("cifar10", tmp_path)


def test_what_is_missing_names_the_files_to_get(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cifar-10-binary\.tar\.gz.*cifar10.*--data_dir"):
        load_images("cifar10", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\.gz.*mnist.*--data_dir"):
        load_images("mnist", tmp_path)
    make_mnist(tmp_path / "mnist")
    with pytest.raises(FileNotFoundError, match="no copy 'npz' of mnist, there may be idx, npz"):
        load_images("mnist", tmp_path, copy="npz")


def test_the_copy_of_the_authors_is_read_before_a_lossy_one(tmp_path):
    write_jpegs(tmp_path / "cifar10", np.random.default_rng(0))
    write_archive(tmp_path / "cifar10" / "cifar-10-binary.tar.gz", make_cifar10()[0])
    assert load_images("cifar10", tmp_path)["test"].lossy == ""
    lossy = load_images("cifar10", tmp_path, copy="jpeg")["test"]
    assert lossy.lossy == lossy[:5].lossy == "images recompressed as JPEG"
    assert len(lossy) == 20


def test_damaged_arrays_are_named(tmp_path):
    (tmp_path / "mnist").mkdir()
    images, labels = np.zeros((9, 28, 28), np.uint8), np.zeros(9, np.uint8)
    wrong = [
        dict(images=images),
        dict(images=images, labels=labels[:8]),
        dict(images=images.astype(float), labels=labels),
        dict(images=images[:, :9], labels=labels),
        dict(images=images, labels=labels + 10),
        dict(images=images, labels=labels[:, None]),
        dict(images=images[:0], labels=labels[:0]),
        dict(images=np.array([None] * 9), labels=labels),
    ]
    for arrays in wrong:
        for name in ("train10k", "test"):
            np.savez(tmp_path / "mnist" / f"{name}.npz", **arrays)
        with pytest.raises(ValueError, match=r"train10k\.npz .*: replace it"):
            load_images("mnist", tmp_path)
