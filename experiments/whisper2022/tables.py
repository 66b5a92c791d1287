"""Word error rates, and attention inside the spoken word, from results."""

from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness import results
from experiments.harness.paper import Paper

INSIDE = {
    "inside, best head": "inside", "inside, all heads": "inside_all_heads", "even": "inside_even",
}  # fmt: skip


def report(folder: Path, paper: Paper) -> None:
    """Writes tables.md and tables.json of what a folder holds results of."""
    rows = results.read_results(folder, paper.rows)
    columns = [Column("network", ""), Column("WER greedy, %"), Column("WER beam, %")]
    columns += [*(Column(title, ".3f") for title in INSIDE), Column("head", "")]
    columns += results.RUN_COLUMNS
    lines = []
    for label, runs in rows.items():
        tests = [run["scores"]["tests"]["test"] for run in runs]
        lines.append(
            {
                "network": label,
                "WER greedy, %": results.cell([100 * one["wer_greedy"] for one in tests]),
                "WER beam, %": results.cell([100 * one["wer_beam"] for one in tests]),
                **{
                    title: results.cell([one.get(name) for one in tests])
                    for title, name in INSIDE.items()
                },
                "head": ", ".join(
                    f"{one['layer']}.{one['head']}" for one in tests if "head" in one
                ),
                **results.run_cells(runs),
            }
        )
    first = next(iter(rows.values()))[0]
    test = first["scores"]["tests"]["test"]
    notes = [
        f"{test['sounds']} test strings of {test['words']} words. The paper's word error rates are "
        "of other data and of networks trained on 680,000 hours: none is comparable.",
        "Inside is the fraction of a word's cross-attention, given the words before it, that falls "
        "on the time in which the word is spoken: of the head (layer.head) that has most of it on "
        "the development set, of the mean of all heads, and of even attention.",
    ]
    results.write_tables(folder, paper.title, {"Strings": Table(columns, lines)}, rows, notes)
