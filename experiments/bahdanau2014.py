"""Bahdanau, Cho, Bengio 2014, Tables 1-2, Figures 2-3: does a sentence fit into one vector?

python -m experiments.bahdanau2014 --table             built-in corpus, CPU, minutes: four rows,
                                                       Figures 2 and 3
python -m experiments.bahdanau2014 --table --data=multi30k --languages=en-de --data_dir=DIR
                                                       image captions, subwords
python -m experiments.bahdanau2014 --scale=paper --describe
                                                       the paper's own sizes, for WMT'14
"""

import dataclasses
import functools
import json
import statistics
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.data.files import write_whole
from attn_research.data.tokenizers import BOS, EOS, PAD
from attn_research.decoding import Vocabulary, beam_search
from attn_research.models.seq2seq import Seq2Seq
from attn_research.training.objectives import cross_entropy
from attn_research.training.step import Sums
from attn_research.viewing import plots
from attn_research.viewing.attention_maps import Panel, attention_figure
from attn_research.viewing.tables import Cell, Column, Table
from experiments import harness, reporting, scores, translation
from experiments.harness import Row, knob


@dataclasses.dataclass(frozen=True)
class Config(translation.TranslationConfig):
    """The knobs of the 2014 models; sizes have the letters of the paper's appendix."""

    attention: bool = knob(True, "look at annotations (RNNsearch), or at one vector (RNNencdec)")
    hidden: int = knob(256, "units n of each recurrence", 1)
    embedding: int = knob(128, "word vector size m", 1)
    maxout: int = knob(128, "maxout units l of the output layer", 1)
    alignment: int = knob(128, "hidden units n' of the alignment model", 1)
    embedding_dropout: float = knob(0.0, "of word vectors", 0.0)
    annotation_dropout: float = knob(0.0, "of annotations", 0.0)
    output_dropout: float = knob(0.0, "of the maxout layer", 0.0)
    init_scale: float = knob(
        1.0, "standard deviations of the weights at the start, over the paper's", 0.0
    )
    label_smoothing: float = knob(0.0, "probability spread over the vocabulary", 0.0)


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
        hidden=256, embedding=128, maxout=128, alignment=256, embedding_dropout=0.3,
        annotation_dropout=0.5, output_dropout=0.5, label_smoothing=0.1, init_scale=10.0,
        num_steps=7000,
        batching="tokens", batch_tokens=2000, bound_step=4,
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
    return Seq2Seq(
        source_vocab=vocab_sizes[0],
        target_vocab=vocab_sizes[1],
        hidden=config.hidden,
        embedding=config.embedding,
        maxout=config.maxout,
        alignment=config.alignment if config.attention else None,
        embedding_dropout=config.embedding_dropout,
        annotation_dropout=config.annotation_dropout,
        output_dropout=config.output_dropout,
        init_scale=config.init_scale,
    )


def make_model(config: Config, vocab_sizes: tuple[int, int] | None = None) -> harness.Model:
    """Init and loss; the vocabularies are as large as the config allows, if not given."""
    network = make_network(config, vocab_sizes or (config.vocab_size, config.vocab_size))

    def init(key):
        ids = jnp.zeros((1, 2), jnp.int32)
        return network.init(key, ids, ids == PAD, ids)

    def loss(params, batch, key, train=True):
        source, target = batch["source"], batch["target"]
        logits = network.apply(
            params, source, source != PAD, previous_words(target), train, rngs={"dropout": key}
        ).logits
        smoothing = config.label_smoothing if train else 0.0
        total, tokens = cross_entropy(logits, target, target != PAD, smoothing)
        sentences = jnp.sum(target[:, 0] != PAD, dtype=jnp.float32)
        return Sums(total, tokens, {"target_tokens": tokens, "sentences": sentences})

    length = config.max_words + 1
    ids = jax.ShapeDtypeStruct((config.batch_size, length), jnp.int32)
    batch = {"source": ids, "target": ids}
    return harness.Model(init, loss, functools.partial(loss, train=False), batch)


def previous_words(target):
    """What stands before each target word: BOS, then the word before."""
    return jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)


def build(config: Config) -> harness.Experiment:
    """One row: its data, model and evaluation."""
    task = translation.load(config)
    sizes = tuple(tokenizer.vocab_size for tokenizer in task.tokenizers)
    batches = translation.make_batches(config, task.train)
    network = make_network(config, sizes)

    def evaluate(params, folder):
        model = functools.partial(_search, network, config.beam_size, config.length_penalty)
        search = jax.jit(model)
        align = jax.jit(functools.partial(_align, network)) if config.attention else None
        translation.predict(
            task, config, functools.partial(search, params),
            align and functools.partial(align, params), folder,
        )  # fmt: skip
        if config.attention:
            _keep_alignments(
                task, functools.partial(search, params), functools.partial(align, params), folder
            )
        return scores.score_all(task.tests, folder, task.languages[1])

    return harness.Experiment(
        model=make_model(config, sizes),
        batches=batches.iterate,
        dev_batches=lambda: (batch for _, batch in translation.eval_batches(config, task.dev)),
        train_sample=lambda: (
            batch for _, batch in translation.eval_batches(config, translation.sample(task.train))
        ),
        evaluate=evaluate,
        about=task.about | {"padding_efficiency": round(batches.padding_efficiency(), 4)},
        steps_per_epoch=batches.per_epoch,
    )


def _search(network, beam_size, alpha, params, source, limits, forbidden):
    """The best translation [B, T] of each source sentence."""
    encoded = network.apply(params, source, source != PAD, method="encode")

    def step(state, words):
        logits, state, _ = network.apply(params, encoded.memory, state, words, method="step")
        return logits, state, ()

    return beam_search(
        step,
        encoded.state,
        limits,
        max_length=2 * source.shape[1] + 10,
        beam_size=beam_size,
        vocabulary=Vocabulary(PAD, BOS, EOS, (forbidden,)),
        alpha=alpha,
    ).tokens[:, 0]


def _align(network, params, source, target):
    """The weights [B, T, S] of each target word, given those before it."""
    return network.apply(
        params, source, source != PAD, previous_words(target), capture="all"
    ).weights


def _keep_alignments(task, search, align, folder: Path, count: int = 4) -> None:
    """Figure 3: the model's own translations of a few sentences, and where it looked."""
    pairs = next(iter(task.tests.values()))
    # As in the paper, of 10 to 20 words; the first of them, so that nothing is picked by hand.
    fitting = [pair for pair in pairs if 10 <= len(pair.source.split()) <= 20]
    panels = []
    for pair in fitting[:count]:
        source = np.array([[*task.tokenizers[0].encode(pair.source), EOS]], np.int32)
        ids = np.asarray(search(source, np.array([2 * source.shape[1] + 10]), PAD))
        length = int((ids != PAD).sum())
        weights = np.asarray(align(source, ids))[0, :length]
        words = [
            [tokenizer.decode([i]) for i in row if i != EOS]
            for tokenizer, row in zip(task.tokenizers, (source[0], ids[0, :length]), strict=True)
        ]
        panels.append({"words": words, "weights": weights.round(4).tolist()})
    write_whole(folder / "alignments.json", json.dumps(panels, ensure_ascii=False).encode())


def rescore(result: dict[str, Any], folder: Path, data_dir: str) -> dict[str, Any]:
    """The scores of a result, computed again from the predictions in `folder`."""
    config = Config(**(result["config"] | {"data_dir": data_dir}))
    tests = translation.test_pairs(config)
    return scores.score_all(tests, folder, config.languages.split("-")[1])


def report(folder: Path) -> None:
    """Tables 1 and 2 as Markdown and JSON, Figures 2 and 3 as PNG, from the results in a folder."""
    results = reporting.read_results(folder, ROWS)
    tests = list(next(iter(results.values()))[0]["scores"]["tests"])
    tables = {f"Table 1, {test}": _table1(results, test) for test in tests}
    tables["Table 2"] = _table2(results)
    reporting.write_tables(folder, __doc__.splitlines()[0], tables, results)
    paper = json.loads((Path(__file__).parent / "published/bahdanau2014_figure2.json").read_text())
    curves = []
    for row, runs in reversed(results.items()):  # so that dashes are the paper's
        points = [run["scores"]["tests"][tests[0]]["curve"] for run in runs]
        means = [_mean([bleu for _, bleu in at_length]) for at_length in zip(*points, strict=True)]
        curves.append(plots.Curve(row, [x for x, _ in points[0]], means))
    published = [plots.Curve(row, range(60), paper["curves"][row]) for row in reversed(results)]
    plots.save(plots.length_figure(curves, published), folder / "figure2.png")
    for row, runs in results.items():
        path = folder / f"{row}.seed{runs[0]['config']['seed']}" / "alignments.json"
        if path.exists():
            panels = [
                Panel(np.array(panel["weights"]), *panel["words"])
                for panel in json.loads(path.read_text())
            ]
            plots.save(attention_figure(panels), folder / f"figure3-{row}.png")


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
                "all": _cell([one["bleu"] for one in found], paper["bleu"]),
                "no UNK": _cell([one.get("bleu_no_unk") for one in found], paper["no_unk"]),
                "sacreBLEU": _cell([one["sacrebleu"] for one in found]),
                "10-19 words": _cell([span[10] for span in spans]),
                "50-60 words": _cell([span[50] for span in spans]),
                "40+ words": _cell([one.get("bleu_40") for one in found]),
                "AER": _cell([one.get("aer") for one in found]),
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
                "updates": _cell([run["updates"] for run in runs], paper["updates"]),
                "epochs": _cell([run["epochs"] for run in runs], paper["epochs"]),
                "hours": _cell([run["seconds"] / 3600 for run in runs], paper["hours"]),
                "hardware": runs[0]["environment"]["device"],
                "train NLL": _cell([run["train_nll"] for run in runs], paper["train_nll"]),
                "dev NLL": _cell([run["dev_nll"] for run in runs], paper["dev_nll"]),
            }
        )
    return Table(columns, rows)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _cell(values: list[float | None], paper: float | None = None) -> Cell:
    known = [value for value in values if value is not None]
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return Cell(_mean(known), deviation, paper)


PAPER = harness.Paper(
    name="bahdanau2014",
    config=Config,
    rows=ROWS,
    scales=SCALES,
    make_model=make_model,
    build=build,
    report=report,
)

if __name__ == "__main__":
    harness.main(PAPER)
