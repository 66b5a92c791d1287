"""Tables 1 and 2 and Figures 2 and 3 of Bahdanau, Cho, Bengio 2014, from results."""

import json
from pathlib import Path

from attn_research.viewing import plots
from attn_research.viewing.tables import Column, Table
from experiments.harness.paper import Paper
from experiments.harness.results import (
    cell,
    mean_curve,
    printed,
    read_results,
    row_of,
    write_tables,
)
from experiments.tasks.translation.maps import draw_alignments


def report(folder: Path, paper: Paper) -> None:
    """Writes Tables 1 and 2 and Figures 2 and 3 from a folder of results."""
    results = read_results(folder, paper.rows)
    tests = list(next(iter(results.values()))[0]["scores"]["tests"])
    tables = {f"Table 1, {test}": _table1(paper, results, test) for test in tests}
    tables["Table 2"] = _table2(paper, results)
    write_tables(folder, paper.title, tables, results)
    figure2 = json.loads((Path(__file__).parent / "figure2.json").read_bytes())
    curves = [
        mean_curve(row, [run["scores"]["tests"][tests[0]]["curve"] for run in runs])
        for row, runs in reversed(results.items())  # so that dashes are the paper's
    ]
    rows = [row for row in reversed(results) if row in paper.rows]
    published = [plots.Curve(row, range(60), figure2["curves"][row]) for row in rows]
    limits = sorted({paper.rows[row_of(label)].config["max_words"] for label in results})
    figure = plots.length_figure(curves, published, training_lengths=limits)
    plots.save(figure, folder / "figure2.png")
    draw_alignments(folder, results, "figure3")


def _table1(paper: Paper, results: dict[str, list[dict]], test: str) -> Table:
    columns = [Column("model", ""), Column("all"), Column("no UNK"), Column("sacreBLEU")]
    columns += [Column("10-19 words"), Column("50-60 words"), Column("40+ words")]
    columns += [Column("AER", ".3f"), Column("seeds", "d")]
    rows = []
    for row, runs in results.items():
        there = printed(paper, row)
        found = [run["scores"]["tests"][test] for run in runs]
        spans = [{span["low"]: span["bleu"] for span in one["by_length"]} for one in found]
        rows.append(
            {
                "model": row,
                "all": cell([one["bleu"] for one in found], there.get("bleu")),
                "no UNK": cell([one.get("bleu_no_unk") for one in found], there.get("no_unk")),
                "sacreBLEU": cell([one["sacrebleu"] for one in found]),
                "10-19 words": cell([span[10] for span in spans]),
                "50-60 words": cell([span[50] for span in spans]),
                "40+ words": cell([one.get("bleu_40") for one in found]),
                "AER": cell([one.get("aer") for one in found]),
                "seeds": len(runs),
            }
        )
    return Table(columns, rows)


def _table2(paper: Paper, results: dict[str, list[dict]]) -> Table:
    columns = [Column("model", ""), Column("updates", ",.0f"), Column("epochs", ".1f")]
    columns += [Column("hours", ".2f"), Column("hardware", "")]
    columns += [Column("train NLL", ".1f"), Column("dev NLL", ".1f")]
    rows = []
    for row, runs in results.items():
        there = printed(paper, row)
        rows.append(
            {
                "model": row,
                "updates": cell([run["updates"] for run in runs], there.get("updates")),
                "epochs": cell([run["epochs"] for run in runs], there.get("epochs")),
                "hours": cell([run["seconds"] / 3600 for run in runs], there.get("hours")),
                "hardware": runs[0]["environment"]["device"],
                "train NLL": cell([run["train_nll"] for run in runs], there.get("train_nll")),
                "dev NLL": cell([run["dev_nll"] for run in runs], there.get("dev_nll")),
            }
        )
    return Table(columns, rows)
