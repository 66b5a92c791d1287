"""Bahdanau, Cho, Bengio 2014, Tables 1-2, Figures 2-3: does a sentence fit into one vector?

python -m experiments.bahdanau2014 --table             built-in corpus, CPU, minutes: four rows,
                                                       Figures 2 and 3
python -m experiments.bahdanau2014 --table --data=multi30k --languages=en-de --data_dir=DIR
                                                       image captions, subwords
python -m experiments.bahdanau2014 --scale=paper --describe
                                                       the paper's own sizes, for WMT'14
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from flax import linen as nn

from attn_research.models.seq2seq import Seq2Seq
from attn_research.viewing import plots
from attn_research.viewing.tables import Column, Table
from experiments import encoder_decoder, harness, reading, reporting, translation
from experiments.paper import Experiment, Model, Paper, Row, knob
from experiments.reporting import cell, mean_curve


@dataclasses.dataclass(frozen=True)
class Config(encoder_decoder.MemoryConfig):
    """The knobs of the 2014 models; sizes have the letters of the paper's appendix."""

    attention: bool = knob(True, "look at annotations (RNNsearch), or at one vector (RNNencdec)")
    hidden: int = knob(256, "units n of each recurrence", 1)
    embedding: int = knob(128, "word vector size m", 1)
    maxout: int = knob(128, "maxout units l of the output layer", 1)
    alignment: int = knob(
        128, "hidden units n' of the alignment model, or of what it projects to", 1
    )
    embedding_dropout: float = knob(0.0, "of word vectors", 0.0)
    word_dropout: float = knob(0.0, "of whole target words that come before (not 2014)", 0.0)
    annotation_dropout: float = knob(0.0, "of annotations", 0.0)
    output_dropout: float = knob(0.0, "of the maxout layer", 0.0)
    init_scale: float = knob(
        1.0, "standard deviations of the weights at the start, over the paper's", 0.0
    )
    tied: bool = knob(False, "one matrix for source words, target words and scores (not 2014)")
    conditional: bool = knob(
        False, "take in the last word, look, take in the context (Sennrich et al. 2017, not 2014)"
    )


def _row(attention: bool, max_words: int, **paper: Any) -> Row:
    return Row({"attention": attention, "max_words": max_words}, paper)


# What the paper printed: Table 1, and Table 2 with NLL per sentence.
ROWS = {
    "RNNencdec-30": _row(
        False, 30, bleu=13.93, no_unk=24.19, updates=8.46e5, epochs=6.4, hours=109,
        train_nll=28.1, dev_nll=53.0,
    ),
    "RNNsearch-30": _row(
        True, 30, bleu=21.50, no_unk=31.44, updates=4.71e5, epochs=3.6, hours=113,
        train_nll=26.7, dev_nll=47.2,
    ),
    "RNNencdec-50": _row(
        False, 50, bleu=17.82, no_unk=26.71, updates=6.00e5, epochs=4.5, hours=108,
        train_nll=44.0, dev_nll=43.6,
    ),
    "RNNsearch-50": _row(
        True, 50, bleu=26.75, no_unk=34.16, updates=2.88e5, epochs=2.2, hours=111,
        train_nll=40.7, dev_nll=38.1,
    ),
}  # fmt: skip

SCALES = {
    ("", "tiny"): dict(
        hidden=24, embedding=16, maxout=16, alignment=16, num_steps=12, eval_every=6, save_every=6,
        train_pairs=2000, test_pairs=24, batch_size=16, beam_size=2, warmup_steps=2,
        bound_step=70,
    ),
    ("grammar", "small"): dict(
        hidden=128, embedding=96, maxout=96, alignment=96, init_scale=10.0, vocab_size=1200,
        batch_size=64, num_steps=1000, eval_every=500, save_every=500, learning_rate=4e-3,
    ),
    ("multi30k", "small"): dict(
        languages="en-de", tokenizer="bpe", vocab_size=10_066,  # 10,000 merges
        hidden=256, embedding=128, maxout=128, alignment=256, embedding_dropout=0.2,
        annotation_dropout=0.4, output_dropout=0.4, label_smoothing=0.1, init_scale=10.0,
        tied=True, conditional=True, num_steps=10_000, learning_rate=1.5e-3, warmup_steps=200,
        batching="tokens", batch_tokens=1000, bound_step=4, beam_size=12, length_penalty=0.6,
    ),
    ("multi30k", "tiny"): dict(languages="en-de", tokenizer="bpe", vocab_size=2000),
    ("", "paper"): dict(
        data="text", tokenizer="moses", hidden=1000, embedding=620, maxout=500, alignment=1000,
        optimizer="adadelta", learning_rate=1.0, schedule="constant", batch_size=80,
        num_steps=288_000, eval_every=5000, save_every=1000, beam_size=12,
    ),
}  # fmt: skip


def make_network(config: Config, vocab_sizes: tuple[int, int]) -> Seq2Seq:
    """The network of a config; without attention is the only difference between the rows."""
    attention = None
    if config.attention:
        # The paper's initialization is that of its own score; others have their usual one.
        init = nn.initializers.normal(0.001 * config.init_scale)
        init = init if config.score == "additive" else None
        attention = encoder_decoder.make_attention(config, config.alignment, init)
    return Seq2Seq(
        source_vocab=vocab_sizes[0],
        target_vocab=vocab_sizes[1],
        hidden=config.hidden,
        embedding=config.embedding,
        maxout=config.maxout,
        attention=attention,
        embedding_dropout=config.embedding_dropout,
        annotation_dropout=config.annotation_dropout,
        output_dropout=config.output_dropout,
        init_scale=config.init_scale,
        tied=config.tied,
        word_dropout=config.word_dropout,
        conditional=config.conditional,
        remat=config.remat,
    )


def make_model(config: Config, vocab_sizes: tuple[int, int] | None = None) -> Model:
    """Init and loss; the vocabularies are as large as the config allows, if not given."""
    sizes = vocab_sizes or (config.vocab_size, config.vocab_size)
    return encoder_decoder.make_model(config, make_network(config, sizes))


def build(config: Config) -> Experiment:
    """One row: its data, model and evaluation."""
    task = translation.load(config)
    network = make_network(config, tuple(t.vocab_size for t in task.tokenizers))
    # The weights of a step come from the state before the word it predicts.
    row_of = "predicted" if config.attention else None
    return encoder_decoder.make_experiment(config, task, reading.Reader(network, row_of))


def report(folder: Path) -> None:
    """Tables 1 and 2 as Markdown and JSON, Figures 2 and 3 as PNG, from the results in a folder."""
    results = reporting.read_results(folder, ROWS)
    tests = list(next(iter(results.values()))[0]["scores"]["tests"])
    tables = {f"Table 1, {test}": _table1(results, test) for test in tests}
    tables["Table 2"] = _table2(results)
    reporting.write_tables(folder, __doc__.splitlines()[0], tables, results)
    paper = json.loads((Path(__file__).parent / "published/bahdanau2014_figure2.json").read_text())
    curves = [
        mean_curve(row, [run["scores"]["tests"][tests[0]]["curve"] for run in runs])
        for row, runs in reversed(results.items())  # so that dashes are the paper's
    ]
    published = [plots.Curve(row, range(60), paper["curves"][row]) for row in reversed(results)]
    limits = sorted({ROWS[row].config["max_words"] for row in results})
    figure = plots.length_figure(curves, published, training_lengths=limits)
    plots.save(figure, folder / "figure2.png")
    reading.draw_alignments(folder, results, "figure3")


def _table1(results: dict[str, list[dict]], test: str) -> Table:
    columns = [Column("model", ""), Column("all"), Column("no UNK"), Column("sacreBLEU")]
    columns += [Column("10-19 words"), Column("50-60 words"), Column("40+ words")]
    columns += [Column("AER", ".3f"), Column("seeds", "d")]
    rows = []
    for row, runs in results.items():
        paper = ROWS[row].paper
        found = [run["scores"]["tests"][test] for run in runs]
        spans = [{span["low"]: span["bleu"] for span in one["by_length"]} for one in found]
        rows.append(
            {
                "model": row,
                "all": cell([one["bleu"] for one in found], paper["bleu"]),
                "no UNK": cell([one.get("bleu_no_unk") for one in found], paper["no_unk"]),
                "sacreBLEU": cell([one["sacrebleu"] for one in found]),
                "10-19 words": cell([span[10] for span in spans]),
                "50-60 words": cell([span[50] for span in spans]),
                "40+ words": cell([one.get("bleu_40") for one in found]),
                "AER": cell([one.get("aer") for one in found]),
                "seeds": len(runs),
            }
        )
    return Table(columns, rows)


def _table2(results: dict[str, list[dict]]) -> Table:
    columns = [Column("model", ""), Column("updates", ",.0f"), Column("epochs", ".1f")]
    columns += [Column("hours", ".2f"), Column("hardware", "")]
    columns += [Column("train NLL", ".1f"), Column("dev NLL", ".1f")]
    rows = []
    for row, runs in results.items():
        paper = ROWS[row].paper
        rows.append(
            {
                "model": row,
                "updates": cell([run["updates"] for run in runs], paper["updates"]),
                "epochs": cell([run["epochs"] for run in runs], paper["epochs"]),
                "hours": cell([run["seconds"] / 3600 for run in runs], paper["hours"]),
                "hardware": runs[0]["environment"]["device"],
                "train NLL": cell([run["train_nll"] for run in runs], paper["train_nll"]),
                "dev NLL": cell([run["dev_nll"] for run in runs], paper["dev_nll"]),
            }
        )
    return Table(columns, rows)


PAPER = Paper(
    name="bahdanau2014",
    config=Config,
    rows=ROWS,
    scales=SCALES,
    make_model=make_model,
    build=build,
    rescore=reading.rescore,
    report=report,
)

if __name__ == "__main__":
    harness.main(PAPER)
