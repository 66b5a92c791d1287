"""Luong, Pham, Manning 2015, Tables 1, 4, 6, Figures 5-7: which attention, and where may it look?

python -m experiments.luong2015 --table                    built-in corpus, CPU, minutes: 14 rows
python -m experiments.luong2015 --table --data=multi30k --languages=en-de --data_dir=DIR
                                                           image captions, a shortlist of words
python -m experiments.luong2015 --table --data=hansards --data_dir=DIR
                                                           alignments against gold links
python -m experiments.luong2015 --scale=paper --describe   the paper's own sizes, for WMT'14
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attn_research.layers.recurrent import symmetric_uniform
from attn_research.models.stacked import StackedSeq2Seq
from attn_research.types import PyTree
from attn_research.viewing import plots
from attn_research.viewing.tables import Column, Table
from experiments import encoder_decoder, harness, reading, reporting, translation
from experiments.paper import Experiment, Model, Paper, Row, knob
from experiments.reporting import cell, mean, mean_curve


@dataclasses.dataclass(frozen=True)
class Config(encoder_decoder.MemoryConfig):
    """The knobs of the 2015 models."""

    attention: bool = knob(True, "look at the source states, or start from the last ones alone")
    reverse: bool = knob(True, "read the source from its end")
    regularize: bool = knob(True, "drop out inputs of layers, at the rate --dropout")
    feed: bool = knob(True, "what was seen is part of the next input")
    hidden: int = knob(128, "cells of a layer", 1)
    embedding: int = knob(128, "word vector size", 1)
    num_layers: int = knob(2, "layers of the encoder, and of the decoder", 1)
    dropout: float = knob(0.2, "the rate of --regularize", 0.0)
    init_limit: float = knob(0.1, "weights start between minus and plus this", 0.0)
    replace_unknown: bool = knob(
        True, "also score with unknown words replaced by what they are aligned with"
    )


def _row(score: str, locality: str = "global", *, aer: float | None = None, **paper: Any) -> Row:
    """A row with reversal, dropout and input feeding, as in Table 4."""
    return Row({"score": score, "locality": locality}, {"aer": aer} | paper)


_BARE = {"attention": False, "feed": False}
_WITHOUT_DROPOUT = {"num_steps": 351_562, "halve_after": 0.5, "halve_every": 0.1}
# What the paper printed: perplexity and BLEU of Tables 1 and 4, BLEU with unknown words replaced,
# and the alignment error rate of Table 6. "additive" is scored as in 2014, "concat" is here drawn
# like every other weight; the paper printed no BLEU for it.
ROWS = {
    "base": Row(
        _BARE | {"reverse": False, "regularize": False}, {"ppl": 10.6, "bleu": 11.3},
        scales={"paper": _WITHOUT_DROPOUT},
    ),
    "reverse": Row(
        _BARE | {"regularize": False}, {"ppl": 9.9, "bleu": 12.6},
        scales={"paper": _WITHOUT_DROPOUT},
    ),
    "dropout": Row(_BARE, {"ppl": 8.1, "bleu": 14.0}),
    "location-no-feed": Row({"score": "location", "feed": False}, {"ppl": 7.3, "bleu": 16.8}),
    "location": _row("location", ppl=6.4, bleu=18.1, replaced=19.3, aer=0.39),
    "dot": _row("dot", ppl=6.1, bleu=18.6, replaced=20.5),
    "general": _row("general", ppl=6.1, bleu=17.3, replaced=19.1),
    "concat": _row("concat", ppl=6.7),
    "additive": _row("additive"),
    "local-m-dot": _row("dot", "local_m", ppl="> 7.0"),
    "local-m-general": _row("general", "local_m", ppl=6.2, bleu=18.6, replaced=20.4, aer=0.34),
    "local-p-dot": _row("dot", "local_p", ppl=6.6, bleu=18.0, replaced=19.6),
    "local-p-general": _row("general", "local_p", ppl=5.9, bleu=19.0, replaced=20.9, aer=0.36),
    "ensemble": Row(
        {}, {"bleu": None, "replaced": 23.0, "aer": 0.34},
        members=(
            "location", "dot", "general", "concat", "additive", "local-m-general", "local-p-dot",
            "local-p-general",
        ),
    ),
}  # fmt: skip

# The systems of Table 1 in its order, as it names them.
TABLE_1 = {
    "base": "base",
    "reverse": "base + reverse",
    "dropout": "base + reverse + dropout",
    "location-no-feed": "base + reverse + dropout + global (location)",
    "location": "base + reverse + dropout + global (location) + feed",
    "local-p-general": "base + reverse + dropout + local-p (general) + feed",
    "ensemble": "ensemble of 8",
}
TABLE_4 = {
    "location": "global (location)",
    "dot": "global (dot)",
    "general": "global (general)",
    "concat": "global (concat)",
    "additive": "global (additive)",
    "local-m-dot": "local-m (dot)",
    "local-m-general": "local-m (general)",
    "local-p-dot": "local-p (dot)",
    "local-p-general": "local-p (general)",
}
# Of each two rows the paper has the first above the second in BLEU.
ORDERINGS = (
    ("reverse", "base"),
    ("dropout", "reverse"),
    ("location-no-feed", "dropout"),
    ("location", "location-no-feed"),
    ("local-p-general", "location"),
    ("dot", "location"),
    ("dot", "general"),
    ("local-m-general", "general"),
    ("local-p-general", "local-p-dot"),
    ("local-p-general", "local-m-general"),
    ("ensemble", "local-p-general"),
)

# Weights start within 0.1 of 0 for the paper's 1,000 cells; for 128 within 0.3, about as much for
# the sum over a layer's inputs. With 0.1 nothing is learned in the first hundreds of steps.
SCALES = {
    ("", "tiny"): dict(
        hidden=16, embedding=16, num_steps=12, eval_every=6, save_every=6, train_pairs=2000,
        test_pairs=24, batch_size=16, beam_size=2, warmup_steps=2, bound_step=70, vocab_size=500,
        dictionary_pairs=64,
    ),
    ("grammar", "small"): dict(
        vocab_size=800, batch_size=64, num_steps=700, eval_every=350, save_every=350,
        learning_rate=4e-3, dictionary_pairs=5000, init_limit=0.3, dropout=0.1,
    ),
    ("multi30k", "small"): dict(
        languages="en-de", vocab_size=6000,
        num_steps=3000, batching="tokens", batch_tokens=1000, bound_step=4, learning_rate=3e-3,
        dictionary_pairs=29_000, init_limit=0.3,
    ),
    ("multi30k", "tiny"): dict(languages="en-de", vocab_size=2000),
    ("hansards", "small"): dict(
        languages="en-fr", vocab_size=10_000,
        num_steps=4000, batching="tokens", batch_tokens=1000, bound_step=4, learning_rate=3e-3,
        replace_unknown=False, soft_links=True, init_limit=0.3,
    ),
    ("hansards", "tiny"): dict(languages="en-fr", vocab_size=2000, soft_links=True),
    ("", "paper"): dict(
        data="text", languages="en-de", tokenizer="moses", vocab_size=50_000, hidden=1000,
        embedding=1000, num_layers=4, batch_size=128, loss_per="sentence", optimizer="sgd",
        learning_rate=1.0, clip_norm=5.0, schedule="halving", num_steps=421_875, halve_after=8 / 12,
        halve_every=1 / 12, eval_every=5000, save_every=1000,
    ),
}  # fmt: skip


def make_network(config: Config, vocab_sizes: tuple[int, int]) -> StackedSeq2Seq:
    """The network of a config."""
    init = symmetric_uniform(config.init_limit)
    attention = None
    if config.attention:
        attention = encoder_decoder.make_attention(config, config.hidden, init)
    return StackedSeq2Seq(
        source_vocab=vocab_sizes[0],
        target_vocab=vocab_sizes[1],
        hidden=config.hidden,
        embedding=config.embedding,
        num_layers=config.num_layers,
        attention=attention,
        reverse=config.reverse,
        feed=config.feed,
        dropout=config.dropout if config.regularize else 0.0,
        init_limit=config.init_limit,
        remat=config.remat,
    )


def make_model(config: Config) -> Model:
    """Init and loss; the vocabularies are as large as the config allows."""
    return encoder_decoder.make_model(config, make_network(config, (config.vocab_size,) * 2))


def build(config: Config) -> Experiment:
    """One row: its data, model and evaluation."""
    task = translation.load(config)
    return encoder_decoder.make_experiment(config, task, _reader(config, task))


def _reader(config: Config, task: translation.Task) -> reading.Reader:
    network = make_network(config, tuple(t.vocab_size for t in task.tokenizers))
    # Footnote 14. A look from the current state knows the word before, not the one to come; a look
    # by location alone is trained to point to the one to come.
    row_of = "predicted" if config.score == "location" else "input"
    return reading.Reader(network, row_of if config.attention else None)


def evaluate_ensemble(members: Sequence[tuple[Config, PyTree]], folder: Path) -> dict[str, Any]:
    """Predictions and scores of several rows together."""
    config = members[0][0]
    task = translation.load(config)
    readers = [(_reader(config, task), params) for config, params in members]
    return reading.evaluate_members(config, task, readers, folder)


def report(folder: Path) -> None:
    """Tables 1, 4 and 6 as Markdown and JSON, Figures 5 to 7 as PNG, from results in a folder."""
    results = reporting.read_results(folder, ROWS)
    tests = list(next(iter(results.values()))[0]["scores"]["tests"])
    tables = {}
    for test in tests:
        tables[f"Table 1, {test}"] = _bleu_table(results, test, TABLE_1)
        tables[f"Table 4, {test}"] = _bleu_table(results, test, TABLE_4)
        if any("aer" in run["scores"]["tests"][test] for runs in results.values() for run in runs):
            tables[f"Table 6, {test}"] = _alignment_table(results, test)
    tables = {name: table for name, table in tables.items() if table.rows}
    notes = _orderings(results, tests[0])
    reporting.write_tables(folder, __doc__.splitlines()[0], tables, results, notes)
    _draw(folder, results, tests[0])
    reading.draw_alignments(folder, results, "figure7")


def _bleu_table(results: dict[str, list[dict]], test: str, names: dict[str, str]) -> Table:
    columns = [Column("system", ""), Column("dev ppl"), Column("BLEU")]
    columns += [Column("unk replaced"), Column("40+ words"), Column("seeds", "d")]
    rows = []
    for row, name in names.items():
        if row not in results:
            continue
        printed, found = ROWS[row].paper, [run["scores"]["tests"][test] for run in results[row]]
        losses = [run.get("dev_loss") for run in results[row]]
        rows.append(
            {
                "system": name,
                "dev ppl": cell([x and math.exp(x) for x in losses], printed.get("ppl")),
                "BLEU": cell([one["bleu"] for one in found], printed.get("bleu")),
                "unk replaced": cell(
                    [one.get("bleu_replaced") for one in found], printed.get("replaced")
                ),
                "40+ words": cell([one.get("bleu_40") for one in found]),
                "seeds": len(found),
            }
        )
    return Table(columns, rows)


def _alignment_table(results: dict[str, list[dict]], test: str) -> Table:
    columns = [Column("system", ""), Column("AER", ".3f"), Column("soft AER", ".3f")]
    columns += [Column("precision", ".3f"), Column("recall", ".3f"), Column("BLEU")]
    columns += [Column("seeds", "d")]
    rows = []
    for row, name in (TABLE_4 | {"ensemble": TABLE_1["ensemble"]}).items():
        found = [run["scores"]["tests"][test] for run in results.get(row, [])]
        if any("aer" in one for one in found):
            numbers = {"AER": "aer", "soft AER": "soft_aer", "BLEU": "bleu"}
            numbers |= {"precision": "precision", "recall": "recall"}
            printed = {"AER": ROWS[row].paper.get("aer")}
            cells = {
                title: cell([one.get(key) for one in found], printed.get(title))
                for title, key in numbers.items()
            }
            rows.append({"system": name, **cells, "seeds": len(found)})
    return Table(columns, rows)


def _orderings(results: dict[str, list[dict]], test: str) -> list[str]:
    """A sentence for each ordering of the paper's: whether it came out."""
    bleu = {
        row: mean([run["scores"]["tests"][test]["bleu"] for run in runs])
        for row, runs in results.items()
    }
    held, failed = [], []
    for above, below in ORDERINGS:
        if above in bleu and below in bleu:
            gap = f"{above} over {below} ({bleu[above] - bleu[below]:+.2f})"
            (held if bleu[above] > bleu[below] else failed).append(gap)
    return [
        f"Of the paper's orderings in BLEU these came out on {test}: {', '.join(held) or 'none'}.",
        f"These did not: {', '.join(failed) or 'none'}.",
    ]


def _draw(folder: Path, results: dict[str, list[dict]], test: str) -> None:
    """Figure 5, development perplexity over training, and Figure 6, BLEU by source length."""
    learning, lengths = [], []
    for row, runs in results.items():
        curves = [run["learning"] for run in runs if "learning" in run]
        if row in TABLE_1 and curves:
            learning.append(mean_curve(row, curves))
        if row in ("dropout", "location", "dot", "local-m-general", "local-p-general", "ensemble"):
            curves = [run["scores"]["tests"][test]["curve"] for run in runs]
            lengths.append(mean_curve(row, curves))
    if learning:
        figure = plots.learning_figure(
            learning, x_label="updates", y_label="development loss per token (nats)"
        )
        plots.save(figure, folder / "figure5.png")
    if lengths:
        plots.save(plots.length_figure(lengths, training_lengths=(50,)), folder / "figure6.png")


PAPER = Paper(
    name="luong2015",
    config=Config,
    rows=ROWS,
    scales=SCALES,
    make_model=make_model,
    build=build,
    rescore=reading.rescore,
    report=report,
    evaluate_ensemble=evaluate_ensemble,
)

if __name__ == "__main__":
    harness.main(PAPER)
