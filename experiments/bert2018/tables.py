"""Blanks and continuations by BERT and by the same network with causal attention, from results."""

from collections.abc import Sequence
from pathlib import Path

from attn_research.viewing.tables import Column, Table
from experiments.harness.paper import Paper
from experiments.harness.results import cell, mean, printed, read_results, test_sets, write_tables

_MEASURES = {
    "blank filled": "filled_accuracy", "nats": "filled_loss",
    "text continued": "continued_accuracy", "nats, continued": "continued_loss",
}  # fmt: skip


def report(folder: Path, paper: Paper) -> None:
    """Writes the table of each test text of a folder of results."""
    results = read_results(folder, paper.rows)
    names = test_sets(results)
    tables = {f"Words of the {name} text": _blanks(paper, results, name) for name in names}
    write_tables(folder, paper.title, tables, results, notes(results))


def _blanks(paper: Paper, results: dict[str, list[dict]], name: str) -> Table:
    columns = [Column("model", ""), *(Column(title, ".3f") for title in _MEASURES)]
    judged = {label: found for label, runs in results.items() if (found := _judged(runs))}
    columns += [Column("BLiMP", ".3f")] if judged else []
    columns += [Column("dev perplexity", ".2f"), Column("parameters", ",.0f")]
    columns += [Column("epochs", ".1f"), Column("minutes", ".1f"), Column("seeds", "d")]
    lines = []
    for label, runs in results.items():
        tests, figures = [run["scores"]["tests"][name] for run in runs], printed(paper, label)
        lines.append(
            {
                "model": label,
                **{title: cell([x[key] for x in tests]) for title, key in _MEASURES.items()},
                **({"BLiMP": cell(judged[label])} if label in judged else {}),
                "dev perplexity": cell(
                    [run["dev_perplexity"] for run in runs], figures.get("perplexity")
                ),
                "parameters": cell([run["parameters"] for run in runs], figures.get("params")),
                "epochs": cell([run["epochs"] for run in runs]),
                "minutes": cell([run["seconds"] / 60 for run in runs]),
                "seeds": len(runs),
            }
        )
    return Table(columns, lines)


def _judged(runs: Sequence[dict]) -> list[float]:
    """The shares of BLiMP's pairs that runs have right, of those that judged any."""
    scores = [run["scores"] for run in runs]
    return [each["blimp"]["accuracy"] for each in scores if "blimp" in each]


def _mean(runs: Sequence[dict], name: str, key: str) -> float:
    return mean(run["scores"]["tests"][name][key] for run in runs)


def _on_pairs(results: dict[str, list[dict]]) -> str:
    """The same of BLiMP's pairs, where both rows judged them."""
    both, causal = (_judged(results[row]) for row in ("masked", "causal"))
    return f", in BLiMP {100 * (mean(both) - mean(causal)):+.1f}" if both and causal else ""


def notes(results: dict[str, list[dict]]) -> list[str]:
    """What the columns are, and whether the paper's ordering came out."""
    found = [
        "In each of some lines one word is predicted: with the words on both sides of it (blank "
        "filled), and with those before it alone (text continued). Accuracies are of the most "
        "probable word, nats are the mean of minus the log-probability of the right one. Causal "
        "attention sees the words before alone in both. The perplexity is that of the row's own "
        "objective, so that of masked words is not comparable with that of next words.",
    ]
    name = test_sets(results)[0]
    if {"masked", "causal"} <= results.keys():
        filled, continued = (
            100 * (_mean(results["masked"], name, key) - _mean(results["causal"], name, key))
            for key in ("filled_accuracy", "continued_accuracy")
        )
        verb = "came out" if filled > 0 else "did not come out"
        found.append(
            "That attention in both directions fills a blank better than causal attention, as the "
            f"paper argues in section 3.1, {verb}: {filled:+.1f} points. In continuing a text it "
            f"is {continued:+.1f} points from causal attention{_on_pairs(results)}."
        )
    if any(_judged(runs) for runs in results.values()):
        found.append(
            "BLiMP is the share of its pairs whose acceptable sentence is the likelier one: by the "
            "probability of each token given all others, which a mask hides in turn, or given "
            "those before it with causal attention."
        )
    return found
