"""The report: cells that do not follow from predictions, what moved, and the page itself."""

import contextlib
import html.parser
import io
import json
import shutil

import pytest

from attn_research.viewing.page import embedded
from experiments.harness.paper import RESULTS
from experiments.harness.verify import render, tables_again
from experiments.papers import find, names
from experiments.report.comparing import compare, read_all_tables, read_older
from experiments.report.history import ROOT, find_line, read_history
from experiments.report.markup import table
from experiments.report.mathml import to_mathml
from experiments.report.shown import Cell, ShownTable, read_folder
from tests.experiments.programs import call

DIGITS = "vit2020/digits-small"
VOID = "meta", "img", "br"


class Elements(html.parser.HTMLParser):
    """The elements of a page, each with its attributes and text; ends must fit their beginnings."""

    def __init__(self, text):
        super().__init__()
        self.found, self._open = [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        element = [tag, dict(attrs), ""]
        self.found.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.found.append([tag, dict(attrs), ""])

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        for element in self._open:
            element[2] += data

    def all(self, *tags):
        return [element for element in self.found if element[0] in tags]

    def of_class(self, name, *tags):
        return [x for x in self.all(*tags) if name in x[1].get("class", "").split()]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A small folder of results, of which one prediction of one seed was edited."""
    root = tmp_path_factory.mktemp("results")
    shutil.copytree(RESULTS / DIGITS, root / DIGITS)
    shutil.copytree(RESULTS / "vit2020/mnist-small", root / "vit2020/mnist-small")
    shutil.copytree(RESULTS / "benchmarks/avx2", root / "benchmarks/avx2")
    shutil.copytree(RESULTS / "conformance", root / "conformance")
    predictions = root / DIGITS / "small.seed1" / "test.predictions.txt"
    lines = predictions.read_text().splitlines(keepends=True)
    lines[0] = lines[0].translate(str.maketrans("0123456789", "1234567890"))
    predictions.write_text("".join(lines))
    return root


@pytest.fixture(scope="module")
def verified(results):
    """The end of the command with --verify, and the page."""
    output = results / "report.html"
    words = [f"--results_dir={results}", f"--output={output}", "--verify", "--data_dir=/nowhere"]
    return call("experiments.report", *words), output


@pytest.fixture(scope="module")
def page(verified):
    return Elements(verified[1].read_text())


def test_an_edited_prediction_turns_exactly_its_cell_red(verified, page):
    done, _ = verified
    assert done.returncode == 1 and "they are red" in done.stderr
    (failed,) = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert "digits-small/small.seed1: " in failed and "/accuracy is" in failed
    assert "2 results verified, 1 differ, 1 not verified" in done.stdout
    (cell,) = page.of_class("wrong", "td")
    kept = json.loads((RESULTS / DIGITS / "tables.json").read_bytes())["Accuracy"]["rows"][0]
    assert cell[2].startswith(f"{kept['test accuracy']['value']:.4f}")
    assert "its predictions give" in cell[2]
    captions = [each[2] for each in page.all("caption")]
    assert "Accuracy 1 cell is not what the predictions give" in captions
    assert "Accuracy not verified: the data are absent" in captions


def test_the_page_is_one_file_of_labelled_tables_and_pictures(verified, page):
    text = verified[1].read_text()
    assert len(text) < 3e6 and text.isprintable() is False
    for place in ("src", "href", "action", "data"):
        for _, attributes, _ in page.found:
            assert attributes.get(place, "#").startswith(("#", "data:image/")), attributes
    assert "url(" not in text and "@import" not in text
    assert not page.all("script")[0][1].get("src") and len(page.all("script")) == 1
    assert len(page.all("caption")) == len(page.all("table")) > 5
    assert all(each[1].get("scope") in ("row", "col") for each in page.all("th"))
    assert all(each[1]["alt"] for each in page.all("img"))
    ids = [each[1]["id"] for each in page.found if "id" in each[1]]
    assert len(ids) == len(set(ids))
    targets = {each[1]["href"][1:] for each in page.all("a")}
    assert targets <= set(ids)


def test_peers_that_are_ahead_are_marked(page):
    cells = page.of_class("ahead", "td")
    record = json.loads((RESULTS / "benchmarks/avx2/seq2seq_training.json").read_bytes())
    ratios = [r["times_as_long_as_ours"] for r in record["rows"] if r["system"] != "one-device"]
    expected = [f"{ratio:.2f}peer ahead" for ratio in ratios if ratio < 1]
    assert expected and set(expected) <= {cell[2] for cell in cells}


def test_the_data_of_a_page_are_those_of_its_folder(verified, results):
    assert read_older(verified[1]) == read_all_tables(results)
    found = compare(read_older(verified[1]), read_all_tables(results))
    assert found == ([], [], [])
    with pytest.raises(ValueError, match="it has no data of a report"):
        read_older(results / "conformance/conformance.md")


def test_cells_that_moved_by_more_than_the_spread_of_seeds():
    def tables(**cells):
        rows = [{"model": name, "BLEU": cell} for name, cell in cells.items()]
        return {"p/d": {"T": {"columns": ["model", "BLEU"], "rows": rows}}}

    before = tables(a={"value": 30.0, "deviation": 0.5}, b={"value": 30.0, "deviation": 0.5}, c=1.0)
    now = tables(a={"value": 30.4, "deviation": 0.1}, b={"value": 30.6, "deviation": 0.1}, c=1.1)
    found = compare({**before, "old/x": before["p/d"]}, now)
    assert [(move.row, move.before, move.now, move.spread) for move in found.moves] == [
        ("b", 30.0, 30.6, 0.5),
        ("c", 1.0, 1.1, None),
    ]
    assert found.new == [] and found.gone == ["old/x, T: a", "old/x, T: b", "old/x, T: c"]


def test_labels_are_shown_and_never_read_as_html():
    label = '<img src=x onerror="a()"></td><script>b</script>'
    cells = [Cell(label, label, {"value": label}), Cell("1.0", None, 1.0)]
    elements = Elements(table(ShownTable(label, [label, "x"], [cells])))
    assert not elements.all("img", "script")
    assert elements.all("caption")[0][2] == label
    data = {"tables": {label: "&</script>"}}
    assert "<" not in embedded(data) and json.loads(embedded(data)) == data


def test_texts_of_committed_tables_stand_beside_their_values():
    folder = RESULTS / "bahdanau2014/grammar-small"
    first, *_ = read_folder(folder, json.loads((folder / "tables.json").read_bytes()))
    assert first.choose(["RNNsearch-50"], ["all", "AER"]).rows == [
        [
            Cell("RNNsearch-50", None, "RNNsearch-50"),
            Cell("92.34", "26.75", {"value": 92.3448, "paper": 26.75}),
            Cell("0.101", None, 0.101225),
        ]
    ]


def test_tables_alone_are_those_that_stand_beside_figures(tmp_path):
    folder = shutil.copytree(RESULTS / DIGITS, tmp_path / DIGITS)
    kept = {path.name: path.read_bytes() for path in folder.glob("tables.*")}
    for name in kept:
        (folder / name).unlink()
    assert tables_again(folder, find) == kept
    render(folder, find)
    assert {path.name: path.read_bytes() for path in folder.glob("tables.*")} == kept


def test_the_history_names_what_exists():
    history = read_history()
    papers = [entry.name for entry in history.papers]
    years = [entry.year for entry in history.papers]
    assert years == sorted(years) and len(papers) == len(set(papers)) > 10
    for entry in history.papers:
        words = entry.command.split()
        module = words[2].removeprefix("experiments.")
        assert entry.name in names() and module.partition(".")[0] == entry.name
        rows = [word.partition("=")[2] for word in words if word.startswith("--row=")]
        assert set(",".join(rows).split(",")) - {""} <= find(module).rows.keys()
        assert (
            entry.text
            and entry.question.endswith("?")
            and bool(entry.picture) <= bool(entry.caption)
        )
        if entry.picture:
            assert (RESULTS / entry.picture).is_file(), entry.picture
        if entry.equation:
            Elements(to_mathml(entry.equation))
        if choice := entry.table:
            folder = RESULTS / choice.folder
            tables = read_folder(folder, json.loads((folder / "tables.json").read_bytes()))
            (chosen,) = [each for each in tables if each.name == choice.name]
            chosen.choose(choice.rows, choice.columns)
    with pytest.raises(ValueError, match="has no line 'nothing' in Causal"):
        find_line("attn_research/attention/masks.py", "Causal", "nothing")


def test_the_example_of_the_history_prints_what_it_says():
    history, said = read_history(), io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(history.example, {})
    assert said.getvalue().strip() == history.output


def test_formulas_are_mathml():
    found = to_mathml(r"e_{ij} = \frac{v_a^\top}{\sqrt{d}} \left( \alpha \right)")
    assert "<msub><mi>e</mi><mrow><mi>i</mi><mi>j</mi></mrow></msub>" in found
    assert "<mfrac><mrow><msubsup><mi>v</mi><mi>a</mi><mo>⊤</mo></msubsup></mrow>" in found
    for wrong in (r"\unknown", "a_", "{a", "a}"):
        with pytest.raises(ValueError, match="a formula"):
            to_mathml(wrong)


def test_every_line_of_code_is_below_the_repository():
    for entry in read_history().papers:
        for line in entry.code:
            assert (ROOT / line.path).read_text().splitlines()[line.number - 1].strip() == line.text
