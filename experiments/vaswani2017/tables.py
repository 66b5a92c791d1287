"""Tables 2 to 4 and Figures 3 to 5 of Vaswani et al. 2017, from results."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from attn_research.viewing import plots
from attn_research.viewing.attention_maps import Panel, attention_figure, heads_figure
from attn_research.viewing.tables import Column, Table
from experiments.harness.config import file_name
from experiments.harness.paper import Paper, Row
from experiments.harness.results import (
    cell,
    mean,
    printed,
    read_results,
    row_of,
    write_tables,
)
from experiments.tasks.translation import pronouns
from experiments.vaswani2017.rows import TABLE_3

Results = Mapping[str, list[dict]]

# Values of the paper's base for the settings that rows (D) of Table 3 change.
PAPER_BASE = {"dropout": 0.1, "label_smoothing": 0.1}
# Printed numbers of Table 2 and Table 4, for the rows that a reader compares with.
PAPER_BLEU = {"base": 27.3, "big": 28.4}
PAPER_F1 = {"Dyer et al. 2016": 91.7, "Vinyals & Kaiser et al. 2014": 88.3, "Transformer": 91.3}


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md, tables.json and the pictures of what a folder holds results of."""
    results = read_results(folder, paper.rows)
    tests = list(next(iter(results.values()))[0]["scores"]["tests"])
    tables, notes, resolved = {}, [], {}
    if "f1" in next(iter(results.values()))[0]["scores"]["tests"][tests[0]]:
        tables["Table 4"] = _parsing(results, tests[0])
    else:
        tables["Table 2"] = _costs(results, paper, tests)
        tables["Table 3"] = _variations(results, paper, tests[0])
        notes = _orderings(results, paper.rows, tests[0])
        for test in tests:
            of_test = {
                row: [run["scores"]["tests"][test] for run in runs] for row, runs in results.items()
            }
            if any("pronouns" in one for found in of_test.values() for one in found):
                tables[f"Pronoun resolution, {test}"] = _pronouns(of_test)
                resolved[test] = of_test
            if any("heads" in one for found in of_test.values() for one in found):
                tables[f"Alignment error rate by layer and head, {test}"] = _heads(of_test)
    write_tables(folder, paper.title, tables, results, notes)
    for test, of_test in resolved.items():
        _draw_pronouns(of_test, folder / f"pronouns-{test}.png")
    _draw_maps(folder, results)


def _parsing(results: Results, test: str) -> Table:
    columns = [Column("parser", ""), Column("F1"), Column("precision"), Column("recall")]
    columns += [Column("exact match"), Column("right tags"), Column("malformed", ".0f")]
    columns += [Column("sentences", "d")]
    lines = [
        {"parser": f"{name}, WSJ section 23, the paper's Table 4", "F1": printed}
        for name, printed in PAPER_F1.items()
    ]
    for row, runs in results.items():
        found = [run["scores"]["tests"][test] for run in runs]
        names = {"F1": "f1", "precision": "precision", "recall": "recall"}
        names |= {"exact match": "exact_match", "malformed": "malformed"}
        if "tag_accuracy" in found[0]:
            names["right tags"] = "tag_accuracy"
        cells = {title: cell([one[key] for one in found]) for title, key in names.items()}
        lines.append({"parser": f"{row}, here", **cells, "sentences": found[0]["sentences"]})
    return Table(columns, lines)


def _costs(results: Results, paper: Paper, tests: Sequence[str]) -> Table:
    columns = [Column("model", ""), *(Column(f"BLEU {test}") for test in tests)]
    columns += [Column("BLEU in the paper, EN-DE"), Column("training FLOPs", ".1e")]
    columns += [Column("hours", ".2f"), Column("seeds", "d")]
    lines = []
    for row, runs in results.items():
        line = {"model": row, "seeds": len(runs), "BLEU in the paper, EN-DE": PAPER_BLEU.get(row)}
        for test in tests:
            line[f"BLEU {test}"] = cell([run["scores"]["tests"][test]["bleu"] for run in runs])
        there = printed(paper, row).get("training_flops")
        line["training FLOPs"] = cell([run["training_flops"] for run in runs], there)
        line["hours"] = cell([run["seconds"] / 3600 for run in runs])
        lines.append(line)
    return Table(columns, lines)


def _variations(results: Results, paper: Paper, test: str) -> Table:
    settings = {"N": "num_layers", "d_model": "model_dim", "d_ff": "mlp_dim", "h": "num_heads"}
    columns = [Column("row", ""), *(Column(title, "d") for title in settings)]
    columns += [Column("d_k", "d"), Column("P_drop", ".1f"), Column("ε_ls", ".1f")]
    columns += [Column("steps", "d"), Column("dev PPL"), Column("BLEU"), Column("params", ",.0f")]
    columns += [Column("seeds", "d")]
    lines = []
    for row, runs in results.items():
        if row_of(row) not in TABLE_3:
            continue
        there = printed(paper, row)
        config = runs[0]["config"]
        lines.append(
            {
                "row": row,
                **{title: config[name] for title, name in settings.items()},
                "d_k": config["head_dim"] or config["model_dim"] // config["num_heads"],
                "P_drop": config["dropout"],
                "ε_ls": config["label_smoothing"],
                "steps": config["num_steps"],
                "dev PPL": cell([math.exp(run["dev_loss"]) for run in runs], there.get("ppl")),
                "BLEU": cell(
                    [run["scores"]["tests"][test]["bleu"] for run in runs], there.get("bleu")
                ),
                "params": cell([run["parameters"] for run in runs], there.get("params")),
                "seeds": len(runs),
            }
        )
    return Table(columns, lines)


def _orderings(results: Results, rows: Mapping[str, Row], test: str) -> list[str]:
    """Notes: the rows on the paper's side of base in BLEU, and the others.

    A row that sets dropout or label smoothing is compared only if it changes the value of base in
    the same direction as in the paper.
    """
    if "base" not in results:
        return []
    bleu = {
        row: mean(run["scores"]["tests"][test]["bleu"] for run in runs)
        for row, runs in results.items()
    }
    sides: dict[bool, list[str]] = {True: [], False: []}
    others = []
    base = results["base"][0]["config"]
    for row in filter(rows.__contains__, bleu):  # the paper has none that flags changed
        there = rows[row].paper.get("bleu")
        if row == "base" or there is None:
            continue
        changes = rows[row].config.items()
        known = ((x, base[k], PAPER_BASE[k]) for k, x in changes if k in PAPER_BASE)
        if any(np.sign(x - ours) != np.sign(x - theirs) for x, ours, theirs in known):
            others.append(row)
            continue
        ours, theirs = bleu[row] - bleu["base"], there - rows["base"].paper["bleu"]
        # The paper prints one decimal: equal printed numbers give no order.
        if abs(theirs) > 0.05:
            gap = f"{row} ({ours:+.2f}; there {theirs:+.1f})"
            sides[(ours > 0) == (theirs > 0)].append(gap)
    if not any(sides.values()):
        return []
    notes = [
        f"On the paper's side of base in BLEU on {test}: {', '.join(sides[True]) or 'none'}.",
        f"On the other side: {', '.join(sides[False]) or 'none'}.",
    ]
    if others:
        notes.append(f"Not the paper's change, because base differs here: {', '.join(others)}.")
    return notes


def _pronouns(of_test: Mapping[str, list[dict]]) -> Table:
    columns = [Column("model", ""), Column("il / elle accuracy", ".3f"), Column("pronouns", "d")]
    columns += [Column("uniform attention", ".3f"), Column("decoder: uniform attention", ".3f")]
    for title in ("head", "antecedent", "other noun"):
        form = "" if title == "head" else ".3f"
        columns += [Column(f"{side}: {title}", form) for side in pronouns.SIDES]
    lines = []
    for row, runs in of_test.items():
        found = [run["pronouns"] for run in runs if run.get("pronouns", {}).get("count")]
        if not found:
            continue
        line = {"model": row, "pronouns": found[0]["count"]}
        line["il / elle accuracy"] = cell([one["accuracy"] for one in found])
        line["uniform attention"] = found[0]["chance"]
        line["decoder: uniform attention"] = found[0].get("decoder", {}).get("chance")
        for side in pronouns.SIDES:
            looks = [_best(one[side]) for one in found if side in one]
            if looks:
                line[f"{side}: head"] = " ".join(f"{layer}.{head}" for layer, head, *_ in looks)
                line[f"{side}: antecedent"] = cell([look[2] for look in looks])
                line[f"{side}: other noun"] = cell([look[3] for look in looks])
        lines.append(line)
    return Table(columns, lines)


def _best(weights: dict) -> tuple[int, int, float, float]:
    """Layer and head, from 1, with the most weight on the antecedent, and their mean weights."""
    antecedent, other = np.array(weights["antecedent"]), np.array(weights["distractor"])
    layer, head = np.unravel_index(antecedent.argmax(), antecedent.shape)
    at = layer, head
    return int(layer) + 1, int(head) + 1, float(antecedent[at]), float(other[at])


def _heads(of_test: Mapping[str, list[dict]]) -> Table:
    """The error rate of each head, a mean over seeds: rows by layer, and by the word aligned."""
    found = {row: [one["heads"] for one in runs if "heads" in one] for row, runs in of_test.items()}
    most = max(len(one["input"][0]) for runs in found.values() for one in runs)
    columns = [Column("model", ""), Column("layer", "d"), Column("weights belong to the word", "")]
    columns += [Column(f"head {head + 1}", ".3f") for head in range(most)]
    lines = []
    for row, runs in found.items():
        for reading in ("input", "predicted") if runs else ():
            for layer, rates in enumerate(np.mean([one[reading] for one in runs], axis=0), 1):
                heads = {f"head {head}": float(rate) for head, rate in enumerate(rates, 1)}
                lines.append(
                    {"model": row, "layer": layer, "weights belong to the word": reading, **heads}
                )
    return Table(columns, lines)


def _draw_pronouns(of_test: Mapping[str, list[dict]], path: Path) -> None:
    """Draws the weight from a pronoun to its antecedent, by layer and head."""
    panels = {}
    for row, runs in of_test.items():
        found = [run["pronouns"] for run in runs if run.get("pronouns", {}).get("count")]
        for side in pronouns.SIDES:
            weights = [one[side]["antecedent"] for one in found if side in one]
            if weights:
                panels[f"{row}, {side}"] = np.mean(weights, axis=0)
    if panels:
        plots.save(heads_figure(panels, label="mean weight on the antecedent"), path)


def _draw_maps(folder: Path, results: Results) -> None:
    """Draws all heads for one sentence.

    `heads-ROW.png` shows the encoder, `cross-ROW.png` cross-attention, and `decoder-ROW.png` the
    decoder, whose columns are the words that its steps read.
    """
    for row, runs in results.items():
        path = folder / runs[0]["name"] / "maps.json"
        if not path.exists():
            continue
        maps = json.loads(path.read_bytes())
        source, target = maps["words"]
        sides = {
            "heads": ("encoder", source, source),
            "cross": ("cross", source, target),
            "decoder": ("decoder", ["<start>", *target], target),
        }
        for name, (key, columns, rows) in sides.items():
            if key not in maps:  # not kept by older results
                continue
            weights = np.array(maps[key])
            panels = [
                Panel(weights[at], columns, rows, title=f"layer {at[0] + 1}, head {at[1] + 1}")
                for at in np.ndindex(weights.shape[:2])
            ]
            figure = attention_figure(panels, columns=weights.shape[1])
            plots.save(figure, folder / f"{name}-{file_name(row)}.png")
