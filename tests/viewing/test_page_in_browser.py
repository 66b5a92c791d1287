"""The page of attention in a headless browser without a network: what it shows and how fast."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from attn_research.viewing.page import make_page, make_view
from attn_research.viewing.views import Mark, View, pair_views, patches_view
from tests.viewing.browser import browser
from tests.viewing.test_page import draw, labels

BAD = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "<svg onload=alert(3)>",
    "javascript:alert(4)",
    "\u202esdrawkcab",
    "\u05e9\u05dc\u05d5\u05dd",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "x" * 10_000,
    " \n\0\x07",
    "\ud800",
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def show(page, tmp_path):
    """Opens a page of some runs; seconds of computing until its first figure is painted."""

    def opened(runs, title="a title", **options):
        path = tmp_path / "page.html"
        path.write_text(make_page(title, runs, **options), "utf-8")
        page.scheme("light")
        return page.open(path)

    yield opened
    own = ("file://", "data:", "blob:")
    assert [url for url in page.requests() if not url.startswith(own)] == []
    assert page.errors() == []


def translator(seed):
    """Views of an encoder-decoder."""
    words = labels(5), [f"mot{number}" for number in range(6)]
    sizes = {"encoder": (6, 6), "cross": (7, 6), "decoder": (7, 7)}
    weights = {name: draw(3, 4, *each, seed=seed) for name, each in sizes.items()}
    return [*pair_views(words, weights).values()]


def text(page, selector):
    return page.run(f"document.querySelector({selector!r}).innerText")


def check_cells(page, weights, count, *, of=""):
    """Compares so many random cells of a view with the array that it was made of."""
    rng = np.random.default_rng(1)
    places = np.stack([rng.integers(0, size, count) for size in weights.shape], axis=1)
    # As many of the largest weights of their rows.
    places[::2, 3] = weights[tuple(places[::2, :3].T)].argmax(axis=-1)
    keys = "layer, head, row, column"
    read = f"({{view: {of!r} || attention.state.view, layer, head, row, column}})"
    cells = page.run(f"Promise.all({places.tolist()}.map(([{keys}]) => attention.cell{read}))")
    exact = weights[tuple(places.T)]
    for name in ("value", "error"):
        assert all(isinstance(cell[name], int | float) for cell in cells)
    found, error = (np.array([cell[name] for cell in cells]) for name in ("value", "error"))
    assert (np.abs(found - exact) <= error * 1.01 + 1e-7).all() and error.max() <= 1 / 255
    return np.array([cell["kept"] for cell in cells])


def test_layers_heads_kinds_of_attention_and_ways_to_draw_are_chosen(page, show):
    views = translator(0)
    show({"": views})
    assert text(page, "h1") == "a title"
    assert text(page, "#stage-title") == "encoder self-attention, layer 1, head 1"
    for view in views:
        assert check_cells(page, view.weights, 20, of=view.name).all()
    page.select(view="cross-attention", layer=2, head=3, mode="matrix")
    assert text(page, "#stage-title") == "cross-attention, layer 3, head 4"
    best = views[1].weights[2, 3, 0].argmax()
    weight = views[1].weights[2, 3, 0, best]
    # The row that is chosen, its strongest column and its weight.
    assert text(page, ".top h3").split() == ["mot0", "attends", "to"]
    line = text(page, ".top li").split()
    assert line[-2:] == ["<end>" if best == 5 else f"word{best}", f"{weight:.4f}"]
    for mode in ("words", "lines", "matrix"):
        page.select(mode=mode)
        page.run("document.querySelector('#figure .panel, #figure [role=listbox]').focus()")
        page.run("document.querySelector('#figure [tabindex=\"0\"]').focus()")
        page.key("Escape")
        page.key("ArrowDown")
        page.key("ArrowRight")
        assert text(page, ".top h3").split()[0] == "mot2", mode
        page.key("End")
        assert text(page, ".top h3").split()[0] == "<end>"
        page.key("ArrowUp", shift=True)
        page.key("ArrowRight", shift=True)
        page.run("attention.drawn()")
        assert text(page, "#stage-title").endswith("layer 2, mean"), mode
        page.select(layer=2, head=3)
    said = text(page, "#said")
    assert said.startswith("<end> attends to ") and f"{views[1].weights[2, 3, 6].max():.4f}" in said


def test_the_pointer_shows_where_a_token_attends_and_a_click_keeps_it(page, show):
    views = translator(0)
    show({"": views})
    page.select(mode="words", view="cross-attention")
    place = "document.querySelectorAll('[role=listbox]')[{}].children[{}].getBoundingClientRect()"

    def at(side, index):
        box = page.run(f"(({{x, y}}) => [x + 8, y + 8])({place.format(side, index)})")
        page.move(*box)
        return text(page, ".top h3").split()

    assert at(0, 3) == ["mot3", "attends", "to"]
    shades = page.run(
        "[...document.querySelectorAll('[role=listbox]')[1].children].map("
        "(x) => getComputedStyle(x).backgroundColor.match(/\\d+/g).reduce((a, b) => a + +b, 0))"
    )
    assert np.argmin(shades) == views[1].weights[0, 0, 3].argmax()
    assert at(1, 2) == ["word2", "is", "attended", "to", "by"]
    page.run("document.querySelectorAll('[role=listbox]')[0].children[4].click()")
    page.move(2, 2)
    assert text(page, ".top h3").split()[0] == "mot4"


def test_two_runs_are_beside_each_other_with_their_difference(page, show):
    first, second = translator(0), translator(1)
    show({"one": first, "two": second})
    titles = page.run("[...document.querySelectorAll('h3.run')].map((x) => x.innerText)")
    assert titles == ["one", "two", "two minus one"]
    page.select(layer=1, head=2)
    change = second[0].weights[1, 2, 0] - first[0].weights[1, 2, 0]
    most = np.abs(change).argmax()
    line = page.run("document.querySelectorAll('.top')[2].querySelector('li').innerText").split()
    assert float(line[-1].replace("−", "-")) == pytest.approx(change[most], abs=6e-5)
    page.select(run="1")
    assert check_cells(page, first[0].weights, 20).all()
    assert page.run("document.querySelectorAll('.panel').length") == 1
    # Without a difference where words are others.
    other = View(first[0].name, first[0].weights, labels(5)[::-1], labels(5))
    show({"one": first, "two": [other]})
    assert page.run("document.querySelectorAll('.panel').length") == 2


def test_patches_are_shown_over_their_image(page, show):
    pixels = np.arange(48 * 36 * 3, dtype=np.uint8).reshape(48, 36, 3)
    weights = draw(2, 3, 13, 13)
    show({"": [patches_view(weights, pixels, (4, 3))]})
    assert text(page, "#stage-title") == "self-attention, layer 2, mean"
    assert text(page, ".top h3").split() == ["class", "token", "attends", "to"]
    image = "document.querySelector('.panel svg').getBoundingClientRect()"
    page.move(*page.run(f"(({{x, y, width}}) => [x + width / 2, y + 2])({image})"))
    assert text(page, ".top h3").split()[:2] == ["1,", "2"]


def test_labels_are_shown_and_never_run(page, show):
    title = BAD[1] + BAD[0]
    view = make_view(BAD[0], draw(1, 2, 10, 10), BAD)
    show(
        {title: [view], BAD[2]: [make_view(BAD[0], draw(1, 2, 10, 10, seed=1), BAD)]},
        title,
        notes=BAD[:4],
    )
    assert text(page, "h1") == title
    for mode in ("words", "lines", "matrix"):
        page.select(mode=mode)
        shown = page.run("document.body.textContent")
        assert all(each in shown for each in BAD[:2]) and "\u202esdraw" in shown
        assert page.run("document.querySelectorAll('img:not(#grid img), main script').length") == 0
        assert page.run("document.documentElement.scrollWidth <= innerWidth"), mode
    page.select(mode="words")
    sizes = page.run("[...document.querySelectorAll('[role=option]')].map((x) => x.offsetWidth)")
    assert max(sizes) < 300
    # What is kept as a file is text as well.
    tree = ElementTree.fromstring(page.run("attention.svg()"))
    assert not [each for each in tree.iter() if each.tag.endswith(("script", "img"))]


def test_colors_follow_the_system_and_the_button_and_figures_are_files(page, show, tmp_path):
    show({"": [View("x", draw(2, 2, 6, 6), labels(6), labels(6), marks=[Mark(1, 2, "gold")])]})
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.run(ground)
    page.scheme("dark")
    dark = page.run(ground)
    assert light == "rgb(255, 255, 255)" and dark != light
    page.run("document.getElementById('theme').click()")
    assert page.run(ground) == light
    page.select(mode="matrix")
    assert page.run("document.querySelector('.mark title').textContent") == "gold"
    folder = str(tmp_path)
    page("Browser.setDownloadBehavior", behavior="allow", downloadPath=folder)
    for kind in ("svg", "png"):
        page.run(f"document.getElementById('save-{kind}').click()")
    svg, png = (page.wait_for(tmp_path / f"x-layer-1-head-1.{kind}") for kind in ("svg", "png"))
    tree = ElementTree.parse(svg).getroot()
    shown = {each.text.strip("\u2068\u2069") for each in tree.iter() if each.tag.endswith("text")}
    assert {*labels(6)} <= shown
    image = Image.open(png)
    assert image.width == 2 * int(tree.get("width")) and len(image.getcolors(1 << 24)) > 20
    # A4, in points.
    assert b"/MediaBox [0 0 594.9" in page.pdf()


def test_twelve_layers_of_twelve_heads_over_512_tokens(page, show, tmp_path):
    weights = np.tile(draw(2, 12, 512, 512), (6, 1, 1, 1))
    view = View("self-attention", weights, labels(512), labels(512), same=True)
    assert show({"": [view]}) < 1
    assert (tmp_path / "page.html").stat().st_size <= 5e6
    kept = check_cells(page, weights, 1000)
    assert 0.4 < kept.mean() < 0.6
    for mode in ("words", "matrix"):
        page.select(mode=mode)
        assert page.hover(40) < 0.05, mode


def test_4096_tokens(page, show):
    rng = np.random.default_rng(0)
    weights = np.zeros((1, 1, 4096, 4096), np.float32)
    columns = rng.integers(0, 4096, (4096, 20))
    np.put_along_axis(weights[0, 0], columns, 0.05, axis=-1)
    assert show({"": [View("x", weights, labels(4096), labels(4096))]}) < 2
    assert page.hover(20) < 0.05
    check_cells(page, weights, 200)
    page.select(mode="matrix")
    assert page.hover(20) < 0.05
