"""Images by name and by folder, and batches that are a function of (seed, n)."""

import itertools

import numpy as np
import pytest
from PIL import Image

from attn_research.data.images import batches as image_batches
from attn_research.data.images import datasets
from attn_research.data.images.augment import affine
from attn_research.data.images.batches import ImageBatches, ordered_batches
from attn_research.data.images.datasets import ImageSet, load_images
from attn_research.data.images.files import ImageFiles


def make_set(count=10, size=6):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return ImageSet(images, np.arange(count) % 3, ("a", "b", "c"))


def take(batches, start, count):
    return list(itertools.islice(batches.iterate(start), count))


def test_an_epoch_holds_every_image_once_and_the_next_has_another_order():
    data = make_set(12)
    batches = ImageBatches(data, 4, seed=0)
    first, second = (take(batches, start, 3) for start in (0, 3))
    flat = [np.concatenate([one["image"] for one in part]) for part in (first, second)]
    for part in flat:
        every = {image.tobytes() for image in part}
        assert every == {image.tobytes() for image in data.images}
    assert not np.array_equal(*flat)


EVERY = dict(
    pad=2, flip=True, rotate=9.0, scale=1.2, color_jitter=0.5, cutout=4, cutmix=0.4, mixup=0.4
)


@pytest.mark.parametrize("options", [{}, {"pad": 2, "flip": True}, {"rotate": 9.0}, EVERY])
def test_batch_n_is_a_function_of_the_seed_and_n(options):
    batches = ImageBatches(make_set(), 4, seed=0, **options)
    whole = take(batches, 0, 7)
    for number, batch in enumerate(take(batches, 5, 2), 5):
        assert batch.keys() == whole[number].keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], whole[number][name])
    other = take(ImageBatches(make_set(), 4, seed=1, **options), 0, 1)
    assert not np.array_equal(other[0]["image"], whole[0]["image"])


@pytest.mark.parametrize("options", [{"pad": 2, "flip": True}, EVERY])
def test_augmentation_does_not_depend_on_the_batch(options):
    data, found = make_set(12), []
    for size in (4, 6):
        order = np.random.default_rng((3, 0)).permutation(12)
        batches = take(ImageBatches(data, size, seed=3, **options), 0, 12 // size)
        joined = {name: np.concatenate([one[name] for one in batches]) for name in batches[0]}
        found.append({name: values[np.argsort(order)] for name, values in joined.items()})
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_a_crop_is_a_window_of_the_image_with_a_border_and_a_flip_mirrors_it():
    data, pad = make_set(200), 2
    batches = ImageBatches(data, 200, seed=0, pad=pad, flip=True)
    (batch,) = take(batches, 0, 1)
    order = np.random.default_rng((0, 0)).permutation(200)
    seen = set()
    for image, index in zip(batch["image"], order, strict=True):
        border = np.pad(data.images[index], [(pad, pad), (pad, pad), (0, 0)])
        found = [
            (top, left, flipped)
            for top, left, flipped in itertools.product(range(5), range(5), (False, True))
            if np.array_equal(
                image, border[top : top + 6, left : left + 6][:, :: -1 if flipped else 1]
            )
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) > 40  # of 50: places and ways vary


def test_an_affine_map_of_whole_pixels_and_right_angles_is_exact():
    images, zero = make_set(4).images, np.zeros(4)
    one, still = np.ones(4), np.zeros((4, 2))
    np.testing.assert_array_equal(affine(images, zero, one, still), images)
    down_left = np.tile([2.0, -1.0], (4, 1))
    moved = affine(images, zero, one, down_left)
    np.testing.assert_array_equal(moved[:, 2:, :-1], images[:, :-2, 1:])
    assert not moved[:, :2].any() and not moved[:, :, -1].any()
    quarter = affine(images, np.full(4, np.pi / 2), one, still)
    np.testing.assert_array_equal(quarter, np.rot90(images, -1, axes=(1, 2)))


def test_a_zoom_enlarges_about_the_center():
    image = np.zeros((1, 7, 7, 1), np.uint8)
    image[0, 2:5, 2:5] = 200
    one, still = np.ones(1), np.zeros((1, 2))
    larger, smaller = (
        affine(image, 0 * one, factor * one, still)[0, ..., 0] for factor in (2, 0.5)
    )
    # A pixel of the result is read at half, or twice, its distance from the center.
    assert larger[3].tolist() == [100, 200, 200, 200, 200, 200, 100]
    assert smaller[3].tolist() == [0, 0, 0, 200, 0, 0, 0]


def test_empty_images_fill_a_batch_up_to_a_multiple():
    options = dict(seed=0, pad=1, cutmix=0.5)
    whole = ImageBatches(make_set(), 5, **options).make(1)
    padded = ImageBatches(make_set(), 5, **options, row_multiple=4)
    halves = [
        next(padded.iterate(1, lambda n, at=at: slice(at * n // 2, (at + 1) * n // 2)))
        for at in (0, 1)
    ]
    for name, array in padded.make(1).items():
        np.testing.assert_array_equal(array[:5], whole[name])
        assert (array[5:] == (-1 if name == "label" else 0)).all() and len(array) == 8
        parts = np.concatenate([half[name] for half in halves])
        np.testing.assert_array_equal(parts, array)


def test_evaluation_sees_every_image_once_in_order():
    data = make_set()
    found = list(ordered_batches(data, 4))
    assert np.concatenate([members for members, _ in found]).tolist() == list(range(10))
    assert found[-1][1]["label"].tolist() == [2, 0, -1, -1]


def test_digits_are_built_in():
    splits = load_images("digits")
    assert [len(splits[name]) for name in ("train", "dev", "test")] == [1437, 180, 180]
    images = splits["train"].images
    assert images.dtype == np.uint8 and images.shape[1:] == (8, 8, 1)
    assert images.min() == 0 and images.max() == 255


@pytest.mark.parametrize(("name", "sizes", "shape"), [("mnist", [9500, 500, 10_000], (28, 28, 1))])
def test_real_sets(data_dir, name, sizes, shape):
    splits = load_images(name, data_dir)
    assert [len(splits[split]) for split in ("train", "dev", "test")] == sizes
    assert splits["test"].images.shape[1:] == shape
    assert set(splits["train"].labels.tolist()) == set(range(10))


def test_a_folder_of_images(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for split, name, count in (("train", "cat", 12), ("train", "dog", 8), ("test", "dog", 2)):
        folder = tmp_path / split / name
        folder.mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    splits = load_images("folder", folder=tmp_path, size=4)
    assert splits["train"].classes == ("cat", "dog")
    assert [len(splits[name]) for name in ("train", "dev", "test")] == [18, 2, 2]
    assert splits["test"].images.shape == (2, 4, 4, 3)
    assert splits["test"].labels.tolist() == [1, 1]
    sample = np.concatenate(
        [batch["label"] for _, batch in ordered_batches(splits["train"], 5, every=2)]
    )
    assert sample.tolist() == [*splits["train"].labels[::2], -1]
    monkeypatch.setattr(datasets, "IN_MEMORY", 0)
    files = load_images("folder", folder=tmp_path, size=4)
    assert isinstance(files["train"].images, ImageFiles)
    options = dict(pad=1, flip=True, cutmix=0.5)
    for split in splits:
        for (_, lazy), (_, whole) in zip(
            ordered_batches(files[split], 4), ordered_batches(splits[split], 4), strict=True
        ):
            for name in whole:
                np.testing.assert_array_equal(lazy[name], whole[name])
    lazy, whole = (
        next(ImageBatches(x["train"], 8, 0, **options).iterate()) for x in (files, splits)
    )
    for name in whole:
        np.testing.assert_array_equal(lazy[name], whole[name])
    before = files["test"].fingerprint
    (tmp_path / "test" / "dog" / "0.png").write_bytes(b"no image")
    changed = load_images("folder", folder=tmp_path, size=4)["test"]
    assert changed.fingerprint != before
    with pytest.raises(ValueError, match=r"0\.png is no image"):
        changed.images[:1]
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"0\.png is no image"):
        load_images("folder", folder=tmp_path, size=4)
    for path in (tmp_path / "train" / "cat").glob("*.png"):
        path.unlink()
    with pytest.raises(ValueError, match=r"train holds 8 images, too few .*: give some in .*dev"):
        load_images("folder", folder=tmp_path, size=4)
    (tmp_path / "train" / "dog").rename(tmp_path / "dev")
    with pytest.raises(FileNotFoundError, match=r"train holds no images of cat"):
        load_images("folder", folder=tmp_path, size=4)


def test_missing_images_give_a_one_line_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mnist/train10k\.npz.*--data_dir"):
        load_images("mnist", tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no folder of images"):
        load_images("folder", folder=tmp_path)
    with pytest.raises(ValueError, match="--data=folder needs --image_dir"):
        load_images("folder")
    with pytest.raises(ValueError, match="no images 'faces': there are digits"):
        load_images("faces")
    with pytest.raises(ValueError, match="10 images do not fill a batch of 16"):
        ImageBatches(make_set(), 16, seed=0)
    with pytest.raises(ValueError, match=r"--scale_jitter=0\.5: give a factor of 1 or more"):
        ImageBatches(make_set(), 4, seed=0, scale=0.5)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train10k.npz").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"train10k\.npz is not a file of arrays"):
        load_images("mnist", tmp_path)


def test_other_processes_make_the_same_batches(monkeypatch):
    monkeypatch.setattr(image_batches, "WORKERS", 2)
    batches = ImageBatches(load_images("digits")["train"], 64, seed=3, rotate=10.0)
    made = batches.iterate(5, lambda total: slice(0, total // 2))
    for number in (5, 6, 7):
        got, whole = next(made), batches.make(number)
        for name in whole:
            np.testing.assert_array_equal(got[name], whole[name][:32])
    made.close()


def test_an_error_of_another_process_arrives(monkeypatch):
    monkeypatch.setattr(image_batches, "WORKERS", 1)
    batches = ImageBatches(load_images("digits")["train"], 64, seed=3, rotate=10.0)
    with pytest.raises(ValueError, match="step"):
        next(batches.iterate(0, lambda total: slice(0, total, 0)))
