"""Color jitter, cutout, CutMix and mixup, and the labels of mixed images."""

import hashlib
import itertools

import numpy as np
import pytest

from attn_research.data.images import augment
from attn_research.data.images.batches import ImageBatches
from attn_research.data.images.datasets import ImageSet

COUNT, HEIGHT, WIDTH = 70, 9, 11


def make_set():
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8)
    return ImageSet(images, np.arange(COUNT) % 3, ("a", "b", "c"))


def flat_set():
    """Image i is of the one color 3 * i, so that a pixel tells whose it is."""
    images = np.broadcast_to(
        3 * np.arange(COUNT, dtype=np.uint8)[:, None, None, None], (COUNT, HEIGHT, WIDTH, 3)
    )
    return ImageSet(images, np.arange(COUNT), tuple(map(str, range(COUNT))))


@pytest.mark.parametrize(
    ("options", "digest"),
    [
        ({}, "c2337976419fe7d7"),
        ({"pad": 2}, "5c377ee7c8204066"),
        ({"flip": True}, "ff284da02adf2d22"),
        ({"pad": 3, "flip": True}, "c9913971c2cf0b43"),
        ({"pad": 1, "rotate": 9.0, "scale": 1.2, "flip": True}, "4029505ffa9d7906"),
    ],
)
def test_unmixed_batches_match_their_digests(options, digest):
    found = hashlib.sha256()
    for batch in itertools.islice(ImageBatches(make_set(), 32, 3, **options).iterate(1), 4):
        for name in sorted(batch):
            found.update(name.encode() + str(batch[name].dtype).encode())
            found.update(np.ascontiguousarray(batch[name]).tobytes())
    assert found.hexdigest()[:16] == digest


def test_cutmix_replaces_a_rectangle_and_weights_labels_by_its_area():
    batch = ImageBatches(flat_set(), COUNT, 0, cutmix=1.0).make(0)
    assert (batch["other"] != batch["label"]).all()
    for image, label, other, share in zip(*batch.values(), strict=True):
        theirs = image[..., 0] == 3 * other
        assert (image[~theirs] == 3 * label).all()
        assert share == np.float32(1 - theirs.mean())
        rows, columns = theirs.any(axis=1), theirs.any(axis=0)
        assert theirs.sum() == rows.sum() * columns.sum()
        for axis in (rows, columns):
            assert np.abs(np.diff(axis.astype(int))).sum() <= 2
    assert batch["share"].std() > 0.15 and 0.4 < batch["share"].mean() < 0.85


def test_mixup_blends_by_the_label_weight():
    batch = ImageBatches(flat_set(), COUNT, 0, mixup=1.0).make(0)
    for image, label, other, share in zip(*batch.values(), strict=True):
        assert np.abs(image - 3 * (share * label + (1 - share) * other)).max() <= 0.5
        assert (image == image[0, 0, 0]).all()
    assert batch["share"].min() < 0.1 and batch["share"].max() > 0.9


def test_fractions_of_cutmix_and_mixup():
    batches = ImageBatches(flat_set(), 35, 0, cutmix=0.3, mixup=0.3)
    kinds = dict.fromkeys(("cut", "blended", "left"), 0)
    for batch in itertools.islice(batches.iterate(), 20):
        for image, label, other, share in zip(*batch.values(), strict=True):
            colors = np.unique(image).tolist()
            if share == 1:
                assert colors == [3 * label]
                kinds["left"] += 1
            else:
                kinds["cut" if set(colors) <= {3 * label, 3 * other} else "blended"] += 1
    assert all(
        abs(count / 700 - part) < 0.07
        for count, part in zip(kinds.values(), (0.3, 0.3, 0.4), strict=True)
    ), kinds


def test_the_mixing_partner_has_its_own_augmentation():
    options = dict(pad=2, flip=True, color_jitter=0.4, cutout=5)
    data = make_set()
    plain, mixed = (ImageBatches(data, COUNT, 0, **options, **mix) for mix in ({}, {"cutmix": 1.0}))
    order = np.random.default_rng((0, 0)).permutation(COUNT)
    alone = plain.make(0)["image"][np.argsort(order)]
    draw = np.random.default_rng((0, 0, 3)).random((COUNT, 5))[order, 0]
    other = augment.other_indices(order, draw, COUNT)
    for image, index, partner in zip(mixed.make(0)["image"], order, other, strict=True):
        assert ((image == alone[index]) | (image == alone[partner])).all()


def test_an_image_is_never_mixed_with_itself():
    index, draw = np.repeat(3, 1000), np.linspace(0, 1, 1000, endpoint=False)
    assert set(augment.other_indices(index, draw, 5).tolist()) == {0, 1, 2, 4}


def test_color_jitter_by_hand():
    one = np.ones(1)
    image = np.array([[[100, 50, 0], [20, 20, 20]]], np.uint8)[None]
    np.testing.assert_array_equal(augment.color_jitter(image, one, one, one), image)
    np.testing.assert_array_equal(
        augment.color_jitter(image, 1.5 * one, one, one)[0, 0], [[150, 75, 0], [30, 30, 30]]
    )
    gray = 0.299 * 100 + 0.587 * 50
    found = augment.color_jitter(image, one, one, 0 * one)[0, 0]
    assert found.tolist() == [[round(gray)] * 3, [20] * 3]
    mean = (gray + 20) / 2
    found = augment.color_jitter(image, one, 0.5 * one, one)[0, 0]
    np.testing.assert_array_equal(found, np.rint((image[0, 0] + mean) / 2))
    assert augment.color_jitter(image, 9 * one, one, one)[0, 0].max() == 255


def test_cutout_grays_a_rectangle_of_random_size():
    white = ImageSet(np.full((40, 9, 9, 1), 255, np.uint8), np.zeros(40, int), ("a",))
    sizes = set()
    for image in ImageBatches(white, 40, 0, cutout=4).make(0)["image"]:
        gray = image[..., 0] == 128
        assert (image[~gray] == 255).all()
        height, width = gray.any(axis=1).sum(), gray.any(axis=0).sum()
        assert gray.sum() == height * width and max(height, width) <= 5
        sizes.add(int(gray.sum()))
    assert len(sizes) > 5


def test_an_error_while_batches_are_prefetched_reaches_the_caller():
    def rows(total):
        raise RuntimeError("no rows today")

    with pytest.raises(RuntimeError, match="no rows today"):
        next(ImageBatches(make_set(), 4, 0).iterate(0, rows))
