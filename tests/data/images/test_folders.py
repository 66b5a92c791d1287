"""Folders of labelled images: what is read, what is passed over, and what is named and refused."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from attn_research.data.images.datasets import load_images
from attn_research.data.images.files import SUFFIXES
from attn_research.data.images.folders import list_images


@pytest.fixture
def root(tmp_path):
    """Two classes of ten images each, and one of each to test."""
    for split, count in (("train", 10), ("test", 1)):
        for label, name in enumerate(("cat", "dog")):
            for number in range(count):
                put(tmp_path / split / name / f"{number}.png", 100 * label + number)
    return tmp_path


def put(path, level=0, kind=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2), (level,) * 3).save(path, kind)


def names(root, split="train"):
    """(file, class) of a split."""
    classes, splits = list_images(root)
    return [(path.relative_to(root / split).as_posix(), classes[i]) for path, i in splits[split]]


def test_a_folder_has_the_classes_of_train(root):
    splits = load_images("folder", folder=root, size=2)
    assert splits["test"].classes == ("cat", "dog")
    assert splits["test"].images[:, 0, 0, 0].tolist() == [0, 100]
    assert [len(splits[name]) for name in ("train", "dev", "test")] == [18, 2, 2]


@pytest.mark.parametrize(
    "hidden",
    [".ipynb_checkpoints", "@eaDir", "__MACOSX", ".git", "#recycle", "$RECYCLE.BIN", "lost+found"],
)
def test_folders_that_systems_leave_behind_are_no_classes(root, caplog, hidden):
    expected = names(root)
    for place in ("", "train", "test", "train/cat", "train/cat/series"):
        put(root / place / hidden / "cat" / "0.png")
    put(root / "train" / "cat" / "series" / "0.png")
    (root / hidden / "notes.xyz").write_text("of no kind that is read")
    assert names(root) == [*expected[:10], ("cat/series/0.png", "cat"), *expected[10:]]
    assert f"train/cat/{hidden}" in caplog.text and len(caplog.messages) == 1


@pytest.mark.parametrize(
    "name", ["._0.png", ".DS_Store", "Thumbs.db", "desktop.ini", "0.png:Zone.Identifier"]
)
def test_files_that_systems_leave_behind_are_no_images(root, caplog, name):
    expected = names(root)
    for place in ("train", "test/dog"):
        (root / place / name).write_bytes(b"no image")
    assert names(root) == expected
    assert caplog.messages == [
        f"{root}: not read, as hidden, previews, texts or no split: train/{name}, test/dog/{name}"
    ]


def test_texts_beside_images_are_named_and_not_read(root, caplog):
    expected = names(root)
    for number in range(7):
        (root / "train" / "cat" / f"{number}.txt").write_text("a cat")
    (root / "train" / "labels.csv").write_text("0,cat")
    (root / "README.md").write_text("cats and dogs")
    assert names(root) == expected
    (message,) = caplog.messages
    assert "labels.csv, train/cat/0.txt" in message and message.endswith("and 3 more")


def test_images_below_a_class_are_of_that_class(root):
    put(root / "train" / "cat" / "a" / "b" / "0.png", 7)
    put(root / "test" / "dog" / "a" / "0.png", 8)
    assert ("cat/a/b/0.png", "cat") in names(root)
    assert ("dog/a/0.png", "dog") in names(root, "test")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_read_in_either_case(root, suffix):
    kind = {
        ".dib": "BMP",
        ".pgm": "PPM",
        ".pbm": "PPM",
        ".pnm": "PPM",
        ".jpe": "JPEG",
        ".jfif": "JPEG",
    }
    before = len(names(root))
    put(root / "train" / "cat" / f"small{suffix}", kind=kind.get(suffix))
    put(root / "train" / "cat" / f"large{suffix.upper()}", kind=kind.get(suffix))
    assert len(names(root)) == before + 2
    assert len(load_images("folder", folder=root, size=2)["train"]) == 20


@pytest.mark.parametrize("name", ["a.heic", "a.svg", "a.avif", "a.npy", "a.zip", "a", "a.png~"])
def test_a_file_of_another_kind_is_refused_by_name(root, name):
    for place in ("train/cat", "train/cat/series", "train", "test/dog"):
        path = root / place / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"something")
        with pytest.raises(ValueError, match=rf"{path}: no image file that is read.*\.png"):
            list_images(root)
        path.unlink()


def test_what_is_no_file_is_refused_by_name(root):
    path = root / "train" / "cat" / "a.png"
    path.symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"cat/a\.png: no image file"):
        list_images(root)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"cat/a\.png: no image file"):
        list_images(root)


def test_links_are_followed_and_do_not_lead_around(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    put(elsewhere / "0.png")
    (root / "train" / "owl").symlink_to(elsewhere)
    (elsewhere / "again").symlink_to(root / "train" / "owl")
    assert [name for name, label in names(root) if label == "owl"] == ["owl/0.png"]


def test_an_image_outside_of_a_class_is_refused_by_name(root):
    put(root / "test" / "stray.png")
    with pytest.raises(ValueError, match=r"test/stray\.png stands in no folder of a class"):
        list_images(root)


@pytest.mark.parametrize("split", ["test", "dev"])
def test_a_class_that_train_does_not_have_is_refused_by_name(root, split):
    put(root / split / "owl" / "0.png")
    put(root / split / "yak" / "0.png")
    with pytest.raises(ValueError, match=rf"{split} holds classes that .*train does not: owl, yak"):
        list_images(root)


@pytest.mark.parametrize("name", ["Cat", "CAT", "caT"])
def test_a_class_in_another_spelling_is_refused_with_both(root, name):
    (root / "test" / "cat").rename(root / "test" / name)
    with pytest.raises(ValueError, match=rf"test/{name} is called cat in .*train"):
        list_images(root)
    put(root / "train" / name / "0.png")
    with pytest.raises(
        ValueError, match=r"train/cat and .*train/.* are one class in two spellings"
    ):
        list_images(root)


def test_a_class_in_another_composition_of_letters_is_refused(root):
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    put(root / "train" / composed / "0.png")
    put(root / "test" / apart / "0.png")
    with pytest.raises(ValueError, match=f"test/{apart} is called {composed} in"):
        list_images(root)


def test_a_class_without_images_to_train_on_is_refused_by_name(root):
    (root / "train" / "owl" / ".ipynb_checkpoints").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"train/owl holds no images, .*put some there, .*remove"):
        load_images("folder", folder=root, size=2)
    put(root / "dev" / "owl" / "0.png")
    with pytest.raises(ValueError, match=r"train/owl holds no images"):
        load_images("folder", folder=root, size=2)


@pytest.mark.parametrize("name", ["dev", "val", "valid", "validation"])
def test_the_development_split_has_several_names(root, name):
    put(root / name / "dog" / "0.png", 50)
    splits = load_images("folder", folder=root, size=2)
    assert [len(splits[name]) for name in ("train", "dev", "test")] == [20, 1, 2]
    assert splits["dev"].labels.tolist() == [1]
    put(root / "dev" / "dog" / "0.png")
    put(root / "val" / "dog" / "0.png")
    with pytest.raises(ValueError, match=r"dev and .*val.* both are the development split"):
        list_images(root)


def test_a_folder_that_is_no_split_is_named(root, caplog):
    put(root / "extra" / "cat" / "0.png")
    assert len(names(root)) == 20
    assert caplog.messages[0].endswith("no split: extra")


def test_a_tilde_is_the_home_of_the_user(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    splits = load_images("folder", folder=f"~/{root.name}", size=2)
    assert np.array_equal(splits["test"].labels, [0, 1])
