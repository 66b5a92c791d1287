"""Accuracy of answers by what is seen, and where attention points, from results."""

from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness import results
from experiments.harness.paper import Paper

POINTS, INSIDE = "largest inside", "weight inside"
BEST_HEAD = f"{POINTS}, best head"


def report(folder: Path, paper: Paper) -> None:
    """Writes the tables of what a folder holds results of."""
    rows = results.read_results(folder, paper.rows)
    first = next(iter(rows.values()))[0]["scores"]
    kinds = list(first["tests"]["test"]["by_kind"])
    columns = [Column("model", ""), Column("accuracy", ".4f")]
    columns += [Column(kind, ".4f") for kind in kinds if len(kinds) > 1]
    columns += [Column(POINTS, ".4f"), Column(INSIDE, ".4f")]
    columns += [Column(BEST_HEAD, ".4f"), Column("trained", ",.0f"), *results.RUN_COLUMNS]
    lines = [
        {"model": f"{name}, no image", "accuracy": results.cell([accuracy])}
        for name, accuracy in first["guesses"].items()
    ]
    uniform = None
    for label, runs in rows.items():
        tests = [run["scores"]["tests"]["test"] for run in runs]
        line = {"model": label, "accuracy": results.cell([one["accuracy"] for one in tests])}
        line |= {kind: results.cell([one["by_kind"][kind][0] for one in tests]) for kind in kinds}
        if found := [one["pointing"] for one in tests if "pointing" in one]:
            line[POINTS] = results.cell([one["argmax"] for one in found])
            line[INSIDE] = results.cell([one["weight"] for one in found])
            heads = [one["best_head"]["argmax"] for one in found if "best_head" in one]
            line[BEST_HEAD] = results.cell(heads) if heads else None
            uniform = found[0]
        line["trained"] = results.cell(
            [run.get("trained_parameters", run["parameters"]) for run in runs]
        )
        lines.append(line | results.run_cells(runs))
    notes = [
        f"{first['tests']['test']['questions']:,} test questions. The minutes count those of "
        "the language model, which is trained first, on texts alone, and then frozen.",
        *_on_pointing(uniform),
        *_on_splits(next(iter(rows.values()))[0]["config"]["data"]),
        *_ordering(rows),
    ]
    columns = [each for each in columns if any(line.get(each.title) for line in lines)]
    lines = [{column.title: line.get(column.title) for column in columns} for line in lines]
    results.write_tables(folder, paper.title, {"Answers": Table(columns, lines)}, rows, notes)


def _on_pointing(found: dict | None) -> list[str]:
    if found is None:
        return []
    uniform, center = found["uniform"], found["center"]
    return [
        f"Pointing is measured on the {found['questions']:,} questions about something whose "
        f"region in the image is known. {POINTS.capitalize()}: how often the cell of the largest "
        f"weight is in the region; {INSIDE}: how much of the weight is there. Both are of the last "
        "word of the question, by the mean over layers and heads. The best head is the one that "
        "points best on the development set, at the last word or at the word for the image; the "
        "latter stands before the question, so that its weights are the same for all questions "
        "about an image. "
        f"Equal weights have {uniform['weight']:.4f} inside, the middle of the image "
        f"{center['weight']:.4f}."
    ]


def _on_splits(data: str) -> list[str]:
    """What keeps the accuracies from being compared with published ones."""
    if data != "nlvr":
        return []
    return ["NLVR's files dev and hidden are trained on here, and its file test tests."]


def _ordering(rows: dict[str, list[dict]]) -> list[str]:
    """The paper's ablation: whether the last image alone does better than all of them."""
    means = {
        label: results.mean(run["scores"]["tests"]["test"]["accuracy"] for run in runs)
        for label, runs in rows.items()
    }
    return results.orderings(means, [("last", "all")], "of accuracy")
