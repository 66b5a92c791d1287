"""The tables of Xu et al. 2015, and a gallery of where words attend, from results."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from attn_research.evaluation.bootstrap import Interval, bleu_difference
from attn_research.viewing import plots
from attn_research.viewing.image_maps import image_figure
from attn_research.viewing.tables import Column, Table
from experiments.harness.config import file_name
from experiments.harness.paper import Paper
from experiments.harness.results import (
    RUN_COLUMNS,
    cell,
    printed,
    read_results,
    run_cells,
    write_tables,
)
from experiments.tasks.captioning.predictions import read_gallery
from experiments.tasks.captioning.scores import read_counts

Results = Mapping[str, list[dict]]
BLEU = {f"BLEU-{order}": f"bleu_{order}" for order in range(1, 5)}
CONSTANT = "best constant caption"
# Of each two rows the first is to be above the second in BLEU-4.
COMPARED = (("soft", "none"), ("hard", "none"), ("hard", "soft"))


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md, tables.json and galleries of what a folder holds results of."""
    results = read_results(folder, paper.rows)
    tables = {"Captions": _captions(results, paper)}
    tests = [_test(run) for runs in results.values() for run in runs]
    if "uniform" in tests[0]:
        tables["Pointing"] = _pointing(results)
    write_tables(folder, paper.title, tables, results, _notes(folder, results))
    for label, runs in results.items():
        pictures = read_gallery(folder / runs[0]["name"])
        if pictures:
            plots.save(image_figure(pictures), folder / f"attention-{file_name(label)}.png")


def _test(run: dict) -> dict:
    return run["scores"]["tests"]["test"]


def _captions(results: Results, paper: Paper) -> Table:
    columns = [Column("model", ""), *(Column(title) for title in BLEU)]
    columns += [Column("exact", ".3f"), *RUN_COLUMNS]
    lines = []
    for label, runs in results.items():
        of_paper = printed(paper, label) if runs[0]["config"]["data"] == "flickr8k" else {}
        bleu = {
            title: cell([_test(run)[name] for run in runs], of_paper.get(name))
            for title, name in BLEU.items()
        }
        exact = cell([_test(run)["exact"] for run in runs])
        lines.append({"model": label, **bleu, "exact": exact, **run_cells(runs)})
    constant = [_test(run)["constant"] for run in next(iter(results.values()))]
    of_constant = {title: cell([each[name] for each in constant]) for title, name in BLEU.items()}
    return Table(columns, [*lines, {"model": CONSTANT, **of_constant}])


def _pointing(results: Results) -> Table:
    columns = [
        Column("weights", ""),
        Column("largest inside", ".3f"),
        Column("weight inside", ".3f"),
    ]
    columns += [Column("words", ",.0f"), Column("seeds", "d")]
    first = _test(next(iter(results.values()))[0])
    found = {
        label: [_test(run)["pointing"] for run in runs]
        for label, runs in results.items()
        if "pointing" in _test(runs[0])
    }
    found |= {name: [first[name]] for name in ("uniform", "center")}
    lines = [
        {
            "weights": label,
            "largest inside": cell([each["argmax"] for each in each_seed]),
            "weight inside": cell([each["weight"] for each in each_seed]),
            "words": each_seed[0]["words"],
            "seeds": len(each_seed) if label in results else None,
        }
        for label, each_seed in found.items()
    ]
    return Table(columns, lines)


def _notes(folder: Path, results: Results) -> list[str]:
    first = next(iter(results.values()))[0]
    notes = [
        f"{_test(first)['images']} test images. Exact: the fraction of captions that are, word by "
        f"word, one of the image's. The {CONSTANT} is, of frequent ones of training, the one of "
        f"the highest BLEU-4 on images of dev: {_test(first)['constant']['caption']!r}."
    ]
    if "uniform" in _test(first):
        notes.append(
            "Pointing: of each word that names an object or its color, given the words before it "
            "in the reference, the weight inside the object's regions, and whether the largest is "
            "inside. The baselines weigh all regions the same, or those in the middle."
        )
    if first["config"]["data"] == "flickr8k":
        notes.append(
            "The paper's figures are of all 8,000 images of Flickr8k and of an encoder trained on "
            "ImageNet; here 753 images train all of a small network, and 125 others test it."
        )
    counts = {
        label: np.stack([read_counts(folder / run["name"]) for run in runs], axis=1)
        for label, runs in results.items()
    }
    lines = [
        _compared(label, CONSTANT, bleu_difference(own, constant))
        for label, (own, constant) in counts.items()
    ]
    lines += [
        _compared(above, below, bleu_difference(counts[above][0], counts[below][0]))
        for above, below in COMPARED
        if above in counts and below in counts
    ]
    notes.append("Differences in BLEU-4, with 95% intervals of a paired bootstrap over images:")
    return [*notes, "\n".join(lines)]


def _compared(above: str, below: str, found: Interval) -> str:
    return (
        f"- {above} above {below}: {found.difference:+.2f} "
        f"(from {found.low:+.2f} to {found.high:+.2f})"
    )
