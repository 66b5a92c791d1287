"""Drawn scenes: pictures, captions and regions that agree."""

import numpy as np
import pytest

from attn_research.data.images.scenes import (
    COLORS,
    DIGITS,
    FUNCTION_WORDS,
    KINDS,
    SHAPES,
    WORDS,
    Scenes,
    relation,
)

SCENES = Scenes(max_objects=4)


@pytest.fixture(scope="module")
def drawn():
    return [SCENES.draw(3, index) for index in range(150)]


def test_a_scene_is_a_function_of_seed_and_index(drawn):
    again = SCENES.draw(3, 7)
    np.testing.assert_array_equal(again.pixels, drawn[7].pixels)
    assert again.caption == drawn[7].caption and again.objects == drawn[7].objects
    assert SCENES.draw((3, 1), 7).caption != again.caption != SCENES.draw(4, 7).caption
    assert len({each.caption for each in drawn}) > 130


def test_captions_are_of_the_grammar_and_true(drawn):
    for scene in drawn:
        first, *others = scene.objects
        assert set(scene.words) <= set(WORDS)
        assert len(scene.words) <= SCENES.longest_caption == 22
        for other in others:
            assert f"{relation(first, other)} a {other.name}" in scene.caption
            assert first.center[0] < other.center[0]
        lefts = [each.center[0] for each in scene.objects]
        assert lefts == sorted(lefts)
    assert {len(scene.objects) for scene in drawn} == {1, 2, 3, 4}
    assert {each.kind for scene in drawn for each in scene.objects} == set(KINDS)
    assert max(len(scene.words) for scene in drawn) == 22


def test_colors_and_kinds_mean_one_object(drawn):
    for scene in drawn:
        for names in (COLORS, KINDS):
            found = [word for word in scene.words if word in names]
            assert len(found) == len(set(found)) == len(scene.objects)


def test_regions_are_those_of_the_object_that_a_word_means(drawn):
    for scene in drawn:
        for word, region in zip(scene.words, scene.regions, strict=True):
            if word in FUNCTION_WORDS:
                assert not region.any()
                continue
            (meant,) = (each for each in scene.objects if word in (each.kind, each.color))
            left, top, right, bottom = meant.box
            x, y = (int(value) for value in meant.center)
            assert region[y // 8, x // 8] and 1 <= region.sum() <= 9
            # Nothing of the object is far from its region, and none of the region far from it.
            wide = np.kron(region, np.ones((8, 8), bool))
            box = np.zeros((48, 48), bool)
            box[top:bottom, left:right] = True
            assert (wide & box).sum() > box.sum() / 2


def test_objects_have_their_color_within_their_box(drawn):
    for scene in drawn:
        others = np.ones((48, 48), bool)
        for each in scene.objects:
            left, top, right, bottom = each.box
            others[top:bottom, left:right] = False
            inside = scene.pixels[top:bottom, left:right].reshape(-1, 3)
            assert (inside == COLORS[each.color]).all(axis=1).sum() >= 8
        assert len(np.unique(scene.pixels[others].reshape(-1, 3), axis=0)) == 1


def test_as_many_shapes_as_digits(drawn):
    kinds = [each.kind for scene in drawn for each in scene.objects]
    shapes = sum(kind in SHAPES for kind in kinds) / len(kinds)
    assert 0.35 < shapes < 0.65 and len(SHAPES) + len(DIGITS) == len(KINDS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(size=50), "50 pixels are not divided by 6 cells"),
        (dict(size=24), "24 pixels hold no scene"),
        (dict(max_objects=5), "1 to 5 objects: give 1 to 4"),
        (dict(min_objects=0), "0 to 3 objects"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Scenes(**given)
