"""Readers of captioned images: splits, words, and what is named and refused."""

import gzip

import numpy as np
import pytest
from PIL import Image

from attn_research.data.images import captioned
from attn_research.data.images.captioned import caption_words, read_flickr8k, read_folder


def put(root, name, level=0):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (level,) * 3).save(path)


@pytest.fixture
def folder(tmp_path):
    """Twenty images with two captions each."""
    root = tmp_path / "images"
    for number in range(20):
        put(root, f"{number:02}.png", number)
    lines = [
        f"{number:02}.png#{k}\tPicture {number}, the {k}th." for number in range(20) for k in "01"
    ]
    file = tmp_path / "captions.txt"
    file.write_text("\n".join(lines) + "\n")
    return root, file


def test_words_are_lower_case_without_marks():
    assert caption_words("A dog's tri-colored  coat -- it runs , 2 times !") == [
        "a", "dog's", "tri-colored", "coat", "it", "runs", "2", "times",
    ]  # fmt: skip


def test_a_folder_holds_out_a_tenth_twice(folder):
    splits = read_folder(*folder, size=2)
    assert [len(splits[name]) for name in ("train", "dev", "test")] == [16, 2, 2]
    for found in splits.values():
        for image, captions in zip(found.images, found.captions, strict=True):
            number = image[0, 0, 0]
            assert captions == (f"picture {number} the 0th", f"picture {number} the 1th")
    again = read_folder(*folder, size=2)
    assert all(again[name].fingerprint == splits[name].fingerprint for name in splits)
    assert splits["train"].fingerprint != splits["dev"].fingerprint


def test_folders_of_splits_are_splits(tmp_path):
    names = ["train/a.png", "train/b/c.png", "val/d.png", "test/e.png"]
    for name in names:
        put(tmp_path, name)
    file = tmp_path / "captions.tsv"
    file.write_text("".join(f"{name}\ta {i}\n" for i, name in enumerate(names)))
    splits = read_folder(tmp_path, file, size=2)
    assert splits["train"].captions == (("a 0",), ("a 1",))
    assert (splits["dev"].captions, splits["test"].captions) == ((("a 2",),), (("a 3",),))
    file.write_text(file.read_text().replace("val/d.png", "other.png"))
    put(tmp_path, "other.png")
    with pytest.raises(ValueError, match=r"other\.png is in none of the folders train, dev and"):
        read_folder(tmp_path, file, size=2)
    file.write_text("train/a.png\ta\ntest/e.png\tb\n")
    with pytest.raises(ValueError, match="names no image in dev/"):
        read_folder(tmp_path, file, size=2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("00.png a picture", "line 41: '00.png a picture' is no image, tab and caption"),
        ("00.png\t ... !", "line 41"),
        ("\ta picture", "line 41"),
        ("../secret.png\ta picture", r"\.\./secret\.png is not below"),
        ("/etc/a.png\ta picture", "/etc/a.png is not below"),
        ("21.png\ta picture", r"captions of 1 images that are not in .*, such as 21\.png"),
        ("broken.png\ta picture", r"broken\.png is no image that can be read"),
    ],
)
def test_lines_and_files_that_cannot_be_read_are_named(folder, line, message):
    root, file = folder
    (root / "broken.png").write_bytes(b"no image")
    with file.open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_folder(root, file, size=2)


def test_images_without_captions_are_named_and_not_read(folder, caplog):
    root, file = folder
    put(root, "more/20.png")
    assert sum(map(len, read_folder(root, file, size=2).values())) == 20
    assert caplog.messages == [
        f"{root}: 1 images have no caption in {file} and are not read: more/20.png"
    ]


def test_few_captions_are_refused(tmp_path):
    put(tmp_path, "a.png")
    file = tmp_path / "captions.txt"
    file.write_text("\n \n")
    with pytest.raises(ValueError, match="holds no captions"):
        read_folder(tmp_path, file, size=2)
    file.write_text("a.png\ta\n")
    with pytest.raises(ValueError, match="names 1 images: give at least 10"):
        read_folder(tmp_path, file, size=2)


def test_images_that_do_not_fit_memory_stay_files(folder, monkeypatch):
    whole = read_folder(*folder, size=2)["train"]
    monkeypatch.setattr(captioned, "IN_MEMORY", 10)
    files = read_folder(*folder, size=2)["train"]
    assert files.images.shape == whole.images.shape
    np.testing.assert_array_equal(files.images[3:5], whole.images[3:5])


def test_flickr8k_has_its_official_splits(data_dir):
    splits = read_flickr8k(data_dir, 16)
    assert [len(splits[name]) for name in ("train", "dev", "test")] == [753, 113, 125]
    assert all(len(captions) == 5 for found in splits.values() for captions in found.captions)
    assert splits["train"].images.shape == (753, 16, 16, 3)
    words = {
        word for captions in splits["train"].captions for one in captions for word in one.split()
    }
    assert {"a", "dog"} <= words and not words & {".", ",", "A"}


def test_a_damaged_copy_of_flickr8k_is_named(tmp_path):
    jpeg = np.zeros(4, np.uint8)
    arrays = dict(jpeg=jpeg, offsets=np.array([0, 4]), names=np.array(["a.jpg"]))
    path = tmp_path / "flickr8k_1000" / "images.npz"
    path.parent.mkdir()
    (tmp_path / "captions").mkdir()
    with gzip.open(tmp_path / captioned.CAPTIONS, "wt") as file:
        file.write("a.jpg#0\tA dog .\n")
    for changes, message in (
        ({}, "is not a file of arrays jpeg, offsets, names, split"),
        ({"split": np.array(["train", "dev"])}, "other numbers of names, splits and images"),
        ({"split": np.array(["dev"]), "names": np.array(["b.jpg"])}, "no caption, such as b.jpg"),
        ({"split": np.array(["dev"]), "offsets": np.array([0, 9])}, "offsets that do not fit"),
        ({"split": np.array(["dev"])}, "a.jpg in .* is no image that can be read"),
    ):
        np.savez(path, **arrays | changes)
        with pytest.raises(ValueError, match=message):
            read_flickr8k(tmp_path, 8)
