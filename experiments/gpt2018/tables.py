"""Likelihoods of test texts by GPT, from results."""

from pathlib import Path
from typing import Any

from attn_research.viewing.tables import Column, Table
from experiments.harness.paper import Paper
from experiments.harness.results import cell, printed, read_results, test_sets, write_tables

_SHOWN = 600  # characters of a sample


def report(folder: Path, paper: Paper) -> None:
    """Writes the tables of likelihoods and of networks, with a sample of each row."""
    results = read_results(folder, paper.rows)
    names = test_sets(results)
    tables = {
        f"Likelihood of the {name} text": _likelihoods(paper, results, name) for name in names
    }
    tables["Networks and training"] = _networks(paper, results)
    notes = [_NOTE, *([_NANOGPT_NOTE] if "nanoGPT-CPU" in results else [])]
    write_tables(folder, paper.title, tables, results, [*notes, *_samples(folder, results)])


_NOTE = (
    "Windows do not overlap, so that a token has 0 to context - 1 tokens before it, as in the "
    "estimate of nanoGPT; with a stride every token has at least context - stride, where there are "
    "so many. Losses are in nats a token."
)
_NANOGPT_NOTE = (
    "The figure beside nanoGPT-CPU is the one that nanoGPT prints for its setting on "
    "tinyshakespeare, of 20 batches of random windows."
)


def _likelihoods(paper: Paper, results: dict[str, list[dict]], name: str) -> Table:
    columns = [Column("model", ""), Column("tokens", ",d"), Column("loss, windows", ".4f")]
    columns += [Column("loss, strided", ".4f"), Column("perplexity, strided", ".3f")]
    more = {"bits_per_character": "bits per character", "word_perplexity": "perplexity of a word"}
    there = results[next(iter(results))][0]["scores"]["tests"][name]["strided"]
    columns += [Column(title, ".3f") for key, title in more.items() if key in there]
    columns += [Column("seeds", "d")]
    lines = []
    for row, runs in results.items():
        tests = [run["scores"]["tests"][name] for run in runs]
        strided = [one["strided"] for one in tests]
        line = {
            "model": row,
            "tokens": strided[0]["tokens"],
            "loss, windows": cell(
                [one["windows"]["loss"] for one in tests], printed(paper, row).get("loss")
            ),
            "loss, strided": cell([one["loss"] for one in strided]),
            "perplexity, strided": cell([one["perplexity"] for one in strided]),
            "seeds": len(runs),
        }
        for key, title in more.items():
            if key in there:
                line[title] = cell([one.get(key) for one in strided])
        lines.append(line)
    return Table(columns, lines)


def _networks(paper: Paper, results: dict[str, list[dict]]) -> Table:
    names = {"layers": "num_layers", "D": "model_dim", "heads": "num_heads", "context": "context"}
    names |= {"rows": "batch_size", "steps": "num_steps"}
    columns = [Column("model", ""), *(Column(title, "d") for title in names)]
    columns += [Column("parameters", ",.0f"), Column("epochs", ".1f")]
    columns += [Column("train loss", ".3f"), Column("minutes", ".1f")]
    lines = []
    for row, runs in results.items():
        config: dict[str, Any] = runs[0]["config"]
        lines.append(
            {
                "model": row,
                **{title: config[name] for title, name in names.items()},
                "parameters": cell(
                    [run["parameters"] for run in runs], printed(paper, row).get("params")
                ),
                "epochs": cell([run["epochs"] for run in runs]),
                "train loss": cell([run["train_loss"] for run in runs]),
                "minutes": cell([run["seconds"] / 60 for run in runs]),
            }
        )
    return Table(columns, lines)


def _samples(folder: Path, results: dict[str, list[dict]]) -> list[str]:
    """The start of the sample of each row's first seed, as an indented block."""
    found = []
    for row, runs in results.items():
        path = folder / runs[0]["name"] / "sample.txt"
        if path.exists():
            lines = path.read_text("utf-8")[:_SHOWN].split("\n")
            block = "\n".join(f"    {line}".rstrip() for line in lines)
            found.append(f"A sample of {row}:\n\n{block}")
    return found
