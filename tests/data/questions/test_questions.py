"""Questions about images: answers and regions of scenes, easy-VQA's files, NLVR's boxes."""

import gzip
import json

import numpy as np
import pytest

from attn_research.data.images.scenes import COLORS, KINDS, Scenes
from attn_research.data.questions.asked import plain
from attn_research.data.questions.easy_vqa import ANSWERS, SIZE, read_easy_vqa
from attn_research.data.questions.nlvr import draw_box, read_nlvr
from attn_research.data.questions.scenes import KINDS_OF_QUESTIONS, SceneQuestions

SCENES = Scenes(size=32, grid=4)


@pytest.fixture(scope="module")
def drawn():
    return SceneQuestions(SCENES, 40, 300).split(1)


def asked_for(words, objects):
    """The objects that a question names, by its words alone."""
    return [
        each
        for each in objects
        if {each.color} >= set(words) & set(COLORS) and {each.kind} >= set(words) & set(KINDS)
    ]


def answers(words, objects):
    """The answers that are right, by the words of a question alone."""
    found = asked_for(words, objects)
    if words[0] == "is":
        return ["yes" if found else "no"]
    return [each.color if "color" in words else each.kind for each in found]


def parts(each):
    """The words of a question without those on the image, and the objects of each of its images."""
    words = each.text.split()
    objects = [SCENES.draw((1, 0), index).objects for index in each.images]
    return words if len(objects) == 1 else words[5:], objects


def test_answers_and_regions_are_those_of_the_objects(drawn):
    assert {each.kind for each in drawn.questions} == set(KINDS_OF_QUESTIONS)
    for index, each in enumerate(drawn.questions):
        words, objects = parts(each)
        if len(objects) == 2:
            assert each.text.startswith(f"in the {['first', 'second'][each.place]} image , ")
        there = objects[each.place]
        assert [each.answer] == answers(words, there)
        cells = drawn.cells(index, (4, 4))
        assert (cells is None) == (each.answer == "no")
        if cells is not None:
            (one,) = asked_for(words, there)
            covered = SCENES.region(one.box)
            assert np.array_equal(cells, covered) if covered.any() else cells.any()


def test_the_other_image_has_another_answer(drawn):
    both = [each for each in drawn.questions if len(each.images) == 2]
    assert len(both) > 150
    for each in both:
        words, objects = parts(each)
        assert each.answer not in answers(words, objects[1 - each.place])


def write_easy_vqa(folder, lines, count=10):
    from PIL import Image

    (folder / "easy_vqa").mkdir()
    files = []
    for number in range(count):
        pixels = np.full((SIZE, SIZE, 3), 240, np.uint8)
        pixels[8:16, 8 * (number % 4) : 8 * (number % 4) + 8] = (0, 128, 128)
        path = folder / "one.png"
        Image.fromarray(pixels).save(path)
        files.append(path.read_bytes())
    offsets = np.cumsum([0, *map(len, files)])
    png = np.frombuffer(b"".join(files), np.uint8)
    for split in ("train", "test"):
        np.savez(folder / "easy_vqa" / f"{split}.npz", png=png, offsets=offsets)
        path = folder / "easy_vqa" / f"{split}.questions.tsv.gz"
        path.write_bytes(gzip.compress("".join(f"{x}\n" for x in lines).encode()))
    return folder


def test_easy_vqa_is_split_by_images(tmp_path):
    lines = [f"{number}\tteal\tWhat color is the shape?" for number in range(10)]
    lines += ["3\tcircle\tWhat shape is in the image?", "3\tyes\tIs there a circle?"]
    folder = write_easy_vqa(tmp_path, lines)
    sizes = {split: len(read_easy_vqa(folder, split)) for split in ("train", "dev", "test")}
    assert sizes == {"train": 11, "dev": 1, "test": 12}
    assert read_easy_vqa(folder, "train").descriptions[2:] == (
        "teal",
        "teal circle",
        *["teal"] * 5,
        "",
    )
    found = read_easy_vqa(folder, "test")
    assert found.questions[1].text == "what color is the shape ?"
    assert np.argwhere(found.cells(1, (8, 8))).tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0\tteal", "line 1: not the number of an image"),
        ("10\tteal\twhat ?", "line 1: not the number of an image"),
        ("0\tmauve\twhat ?", "line 1: the answer 'mauve' is none of yes, no"),
    ],
)
def test_damaged_questions_are_named(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        read_easy_vqa(write_easy_vqa(tmp_path, [line], 1), "test")


def test_real_easy_vqa(data_dir):
    found = read_easy_vqa(data_dir, "test")
    assert len(found) == 9673 and {each.answer for each in found.questions} == set(ANSWERS)
    shares = found.regions.mean(axis=(1, 2))
    assert shares.min() > 0 and shares.max() < 0.5


def test_boxes_are_drawn_from_their_objects():
    box = draw_box([[0, 0, 30, "square", "#0099ff"], [60, 60, 20, "circle", "Black"]], 50)
    assert box.shape == (50, 50, 3)
    assert box[7, 7].tolist() == [0, 153, 255] and box[35, 35].tolist() == [0, 0, 0]
    assert box[17, 17].tolist() == box[30, 30].tolist() == [211, 211, 211]
    with pytest.raises(ValueError, match="an object of the kind 'star'"):
        draw_box([[0, 0, 30, "star", "Black"]], 50)


def write_nlvr(folder, *lines):
    (folder / "nlvr").mkdir()
    for name in ("dev", "hidden", "test"):
        path = folder / "nlvr" / f"{name}.jsonl.gz"
        path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return folder


def test_nlvr_has_three_images_a_sentence(tmp_path):
    one = {"sentence": "There's a Tower.", "label": True, "boxes": [[], [], []]}
    folder = write_nlvr(tmp_path, *[json.dumps(one)] * 10)
    found = {split: read_nlvr(folder, split, 16) for split in ("train", "dev", "test")}
    assert {split: len(each) for split, each in found.items()} == {
        "train": 18,
        "dev": 2,
        "test": 10,
    }
    first, second = found["dev"].questions
    assert first.images == (0, 1, 2) and second.images == (3, 4, 5)
    assert (
        first.text == plain("There's a Tower.") == "there ' s a tower ." and first.answer == "true"
    )
    assert found["dev"].cells(0, (2, 2)) is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: no example of NLVR"),
        ("{}", "line 1: no example of NLVR"),
        ('{"sentence": "a", "label": true, "boxes": []}', "line 1: 0 boxes and not 3"),
        ('{"sentence": "a", "label": true, "boxes": [[[1, 2]], [], []]}', "line 1: no example"),
    ],
)
def test_damaged_sentences_are_named(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        read_nlvr(write_nlvr(tmp_path, line), "test", 16)
