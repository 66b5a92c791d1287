"""The page of attention without a browser: what its data hold, and what is refused."""

import base64
import html
import json
import re
import zlib

import numpy as np
import pytest

from attn_research.evaluation.rollout import rollouts
from attn_research.viewing import show
from attn_research.viewing.encoding import WHOLE, Heads, choose_precision
from attn_research.viewing.page import make_page, make_view
from attn_research.viewing.views import View, as_weights, pair_views, patches_view, spectrogram


def draw(*shape, seed=0):
    """Weights of random logits."""
    raised = np.exp(2 * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)
    return raised / raised.sum(axis=-1, keepdims=True)


def labels(count):
    return [f"word{number}" for number in range(count)]


def data_of(page):
    """The JSON in a page."""
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*)</script>', page)[1]
    )


def decode(view):
    """The weights [L, heads, T, S] that a view of a page holds; what is not kept is 0."""
    sizes = [len(view[name]) for name in ("layers", "heads", "rows", "columns")]
    data = np.frombuffer(zlib.decompress(base64.b64decode(view["data"])), np.uint8).astype(int)

    def take(data, count):
        return data[:count] + 256 * data[count : 2 * count], data[2 * count :]

    counts, data = take(data, np.prod(sizes[:3]))
    gaps, data = take(data, counts.sum())
    values, data = take(data, counts.sum())
    assert not len(data)
    found, place = np.zeros((len(counts), sizes[3])), 0
    for row, count in enumerate(counts):
        columns = np.cumsum(gaps[place : place + count])
        found[row, columns] = values[place : place + count] * view["scale"] / view["steps"]
        place += count
    return found.reshape(sizes)


def test_a_small_page_holds_all_weights_their_mean_and_their_rollout():
    weights = draw(3, 2, 5, 5)
    view = View("self-attention", weights, labels(5), labels(4), same=True)
    (run,) = data_of(make_page("a title", {"": [view]}))["runs"]
    (found,) = run["views"]
    assert (found["layers"], found["heads"]) == (["1", "2", "3"], ["1", "2", "mean", "rollout"])
    assert found["columns"] == [*labels(4), "<end>"] and found["sums_to_one"]
    kept = decode(found)
    np.testing.assert_allclose(kept[:, :2], weights, atol=8e-6)
    np.testing.assert_allclose(kept[:, 2], weights.mean(axis=1), atol=8e-6)
    np.testing.assert_allclose(kept[:, 3], rollouts(weights), atol=8e-6)


def test_what_a_full_page_leaves_out_is_read_back_within_one_part_in_255():
    weights = draw(2, 3, 70, 300)
    view = make_view("cross", weights, labels(70), labels(300))
    everything, some = (data_of(make_page("", {"": [view]}, max_bytes=size)) for size in (10**7, 1))
    assert everything["runs"][0]["views"][0]["bound"] < 1e-5
    (found,) = some["runs"][0]["views"]
    kept = decode(found)[:, :3]
    assert found["bound"] == 2 / 255 and (kept == 0).mean() > 0.5
    np.testing.assert_array_equal(kept > 0, weights > found["bound"])
    read = np.where(kept > 0, kept, found["bound"] / 2)
    assert np.abs(read - weights).max() <= 1 / 255
    np.testing.assert_allclose(kept[kept > 0], weights[kept > 0], atol=1.3e-4)
    between = choose_precision([Heads(view)], int(4.5 * (weights > 1 / 510).sum()))
    assert WHOLE.bound < between.bound < 2 / 255 and between.steps == WHOLE.steps


def test_rollout_needs_every_layer_and_single_heads_have_no_mean():
    weights = draw(2, 1, 4, 4)
    some = View("", weights, labels(4), labels(4), same=True, layers=[0, 2], heads=[4])
    assert Heads(some).names == ["5"]
    assert Heads(View("", weights, labels(4), labels(4), same=True)).names == ["1", "rollout"]


def test_labels_and_titles_stay_data():
    bad = "</script><script>alert(1)</script><!-- {{style}}"
    page = make_page(bad, {bad: [make_view(bad, draw(2, 2), [bad, "\ud800"])]}, notes=[bad])
    assert "alert" not in re.sub(r'id="data">.*?</script>', "", page, flags=re.DOTALL)
    found = data_of(page)
    (run,) = found["runs"]
    (view,) = run["views"]
    assert [found["title"], run["name"], view["name"], *view["rows"]] == [bad] * 4 + ["\ud800"]


def test_a_page_asks_for_nothing_and_runs_its_own_script_alone():
    page = make_page("", {"": [make_view("", draw(2, 2), "ab")]})
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; img-src data: blob:; script-src 'sha256-")
    assert "unsafe" not in policy and "*" not in policy
    outside = re.sub(r"http://www\.w3\.org/2000/svg", "", page)
    assert not re.search(r"https?://|\ssrc=|@import", outside)


def test_arrays_of_any_library_are_taken():
    assert as_weights([[1, 0], [0.5, 0.5]]).shape == (1, 1, 2, 2)
    assert as_weights(draw(3, 2, 2)).shape == (1, 3, 2, 2)
    # As Hugging Face gives them: a batch of one for each layer.
    assert as_weights([draw(1, 3, 4, 5)] * 2).shape == (2, 3, 4, 5)
    assert as_weights(draw(2, 2).astype(np.float64)).dtype == np.float32
    with pytest.raises(ValueError, match=r"shape \(2,\); give \[T, S\]"):
        as_weights([1.0, 0.0])
    with pytest.raises(ValueError, match="no array of numbers"):
        as_weights([["a", "b"]])


def test_pictures_lie_over_the_last_columns():
    pixels = np.zeros((6, 4, 3), np.uint8)
    view = patches_view(draw(2, 3, 7, 7), pixels, (3, 2))
    assert (view.picture.first, view.rows[0], view.rows[6]) == (1, "class token", "3, 2")
    assert view.start == (1, 3, 0)  # the mean of the last layer
    view = make_view("", draw(2, 10), labels(2), labels(10), image=pixels)
    assert (view.picture.grid, view.picture.first) == ((3, 3), 1)
    view = make_view("", draw(2, 8), labels(2), labels(8), sound=np.arange(12.0).reshape(3, 4))
    assert view.picture.grid == (1, 8) and view.picture.pixels[:, 0, 0].tolist() == [185, 93, 0]
    with pytest.raises(ValueError, match="8 columns do not end with the 9 patches"):
        make_view("", draw(2, 8), labels(2), labels(8), image=pixels, grid=(3, 3))
    assert spectrogram(np.zeros((2, 2), np.float32), 2).pixels.max() == 0


def test_views_of_a_pair_have_the_words_that_are_read_and_predicted():
    words = ["a", "b"], ["c", "d", "e"]
    weights = {"encoder": draw(1, 2, 3, 3), "cross": draw(1, 2, 4, 3), "decoder": draw(1, 2, 4, 4)}
    shuffled = {name: weights[name] for name in ("cross", "decoder", "encoder")}
    encoder, cross, decoder = pair_views(words, shuffled).values()
    assert encoder.labels == (["a", "b", "<end>"], ["a", "b", "<end>"]) and encoder.same
    assert cross.labels == (["c", "d", "e", "<end>"], ["a", "b", "<end>"]) and not cross.same
    assert decoder.labels[1] == ["<start>", "c", "d", "e"] and decoder.name[:7] == "decoder"


@pytest.mark.parametrize(
    ("weights", "count", "message"),
    [
        (-draw(2, 2), 2, "a weight is -.*give weights after the softmax"),
        (draw(2, 2) * np.nan, 2, "not finite"),
        (draw(2, 2), 4, "2 rows of weights and 4 labels"),
        (np.zeros((0, 2)), 0, "not .L, N, T, S."),
    ],
)
def test_bad_weights_are_refused(weights, count, message):
    with pytest.raises(ValueError, match=message):
        make_view("attention", weights, labels(count), labels(2))


def test_a_page_needs_one_or_two_runs():
    view = make_view("", draw(2, 2), "ab")
    for runs in ({}, {"": []}, {key: [view] for key in "abc"}):
        with pytest.raises(ValueError, match="no attention to show"):
            make_page("", runs)


def test_a_notebook_shows_the_page_in_a_frame_and_saves_it(tmp_path):
    shown = show(draw(2, 2), ["a", "<b>"])
    frame = shown._repr_html_()
    assert 'sandbox="allow-scripts' in frame and "<b>" not in frame
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == shown.page
    shown.save(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text("utf-8") == shown.page
