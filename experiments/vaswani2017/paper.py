"""Vaswani et al. 2017, Tables 2-4, Figures 3-5: is attention all that a translator needs?

python -m experiments.vaswani2017 --row=base,RNNsearch      built-in corpus, CPU, minutes: BLEU,
                                                            whom pronouns mean, what heads align
python -m experiments.vaswani2017 --table --data=multi30k --data_dir=DIR
                                                            Table 3 on image captions, subwords
python -m experiments.vaswani2017 --data=treebank --data_dir=DIR
                                                            Table 4: parsing, labelled-bracket F1
python -m experiments.vaswani2017 --scale=paper --describe  the paper's own sizes, for WMT'14
"""

import dataclasses
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from flax import linen as nn

from attn_research.layers.attention import AdditiveScoring, MemoryAttention
from attn_research.layers.embeddings import LearnedPositions, SinusoidalPositions
from attn_research.layers.multihead import (
    AdditiveHeads,
    DotHeads,
    GeneralHeads,
    ScaledDotHeads,
)
from attn_research.models.seq2seq import Seq2Seq
from attn_research.models.transformer import Transformer
from experiments import encoder_decoder, harness, reading, transformer_tables, translation
from experiments.paper import Experiment, Model, Optimizer, Paper, Row, Schedule, knob


@dataclasses.dataclass(frozen=True)
class Config(encoder_decoder.Config):
    """The knobs of the Transformer; sizes have the letters of the paper's Table 3."""

    network: Literal["transformer", "rnnsearch"] = knob(
        "transformer", "the Transformer, or the model of 2014 for comparison"
    )
    num_layers: int = knob(3, "N, blocks of the encoder, and of the decoder", 1)
    model_dim: int = knob(96, "d_model", 1)
    mlp_dim: int = knob(192, "d_ff", 1)
    num_heads: int = knob(4, "h", 1)
    num_kv_heads: int = knob(0, "heads of keys and values, shared by groups; 0: one each", 0)
    head_dim: int = knob(0, "d_k; 0: d_model / h", 0)
    value_dim: int = knob(0, "d_v; 0: d_model / h", 0)
    score: Literal["scaled_dot", "dot", "general", "additive"] = knob(
        "scaled_dot", "how alike a query and a key are, in every head"
    )
    dropout: float = knob(0.1, "P_drop, of each layer's output and of the sums of embeddings", 0.0)
    attention_dropout: float = knob(0.0, "of attention weights (not 2017)", 0.0)
    pre_norm: bool = knob(False, "normalize before each layer, not after it (not 2017)")
    positions: Literal["sinusoidal", "learned"] = knob("sinusoidal", "where a word stands")
    max_positions: int = knob(1024, "--positions=learned: how many there are", 1)
    shared: bool = knob(True, "one matrix for source words, target words and scores")
    hidden: int = knob(128, "--network=rnnsearch: units of each recurrence", 1)
    label_smoothing: float = knob(0.1, "epsilon_ls, probability spread over the vocabulary", 0.0)
    optimizer: Optimizer = knob("adam_2017", "the update rule")
    schedule: Schedule = knob("inverse_sqrt", "of the rate over the steps")
    learning_rate: float = knob(0.0, "at the peak; 0: the paper's (d_model * warmup)^-1/2", 0.0)
    beam_size: int = knob(4, "hypotheses kept in search", 1)
    length_penalty: float = knob(0.6, "alpha of Wu et al. 2016, equation 14", 0.0)
    limit_times: float = knob(1.0, "a translation has at most this many times the source's ids,", 0)
    limit_plus: int = knob(50, "plus this many", 1)

    @property
    def peak_rate(self) -> float:
        return self.learning_rate or (self.model_dim * max(1, self.warmup_steps)) ** -0.5


def training_flops(hours: float, devices: int, tflops: float) -> float:
    """The paper's estimate of training cost: time x devices x sustained speed. Table 2, note."""
    return hours * 3600 * devices * tflops * 1e12


def _row(ppl: float, bleu: float, params: float | None = None, **changes: Any) -> Row:
    """A row of Table 3: a number changes a knob, a Fraction multiplies it."""
    printed = {"ppl": ppl, "bleu": bleu} | ({"params": params} if params else {})
    times = {name: x for name, x in changes.items() if isinstance(x, Fraction)}
    return Row({name: x for name, x in changes.items() if name not in times}, printed, times=times)


def _key_dim(ppl: float, bleu: float, params: float, paper: int, small: int) -> Row:
    """A row (B): the width d_k of queries and keys, a quarter or half of d_v."""
    scales = {"paper": {"head_dim": paper}, "small": {"head_dim": small}, "tiny": {"head_dim": 2}}
    return Row({}, {"ppl": ppl, "bleu": bleu, "params": params}, scales=scales)


HALF, TWICE = Fraction(1, 2), Fraction(2)
# Table 3 as printed: perplexity and BLEU on newstest2013, parameters where given. The rows follow
# the paper's order; sizes they change by the same factor at every scale.
ROWS = {
    "base": Row({}, {"ppl": 4.92, "bleu": 25.8, "params": 65e6, "training_flops": 3.3e18,
                     "training_flops_recomputed": training_flops(12, 8, 9.5)}),
    "A-1-head": _row(5.29, 24.9, num_heads=1),
    "A-half-heads": _row(5.00, 25.5, num_heads=HALF),
    "A-twice-heads": _row(4.91, 25.8, num_heads=TWICE),
    "A-four-times-heads": _row(5.01, 25.4, num_heads=Fraction(4)),
    "B-quarter-keys": _key_dim(5.16, 25.1, 58e6, paper=16, small=8),
    "B-half-keys": _key_dim(5.01, 25.4, 60e6, paper=32, small=16),
    "C-third-layers": _row(6.11, 23.7, 36e6, num_layers=Fraction(1, 3)),
    "C-two-thirds-layers": _row(5.19, 25.3, 50e6, num_layers=Fraction(2, 3)),
    "C-four-thirds-layers": _row(4.88, 25.5, 80e6, num_layers=Fraction(4, 3)),
    "C-half-width": _row(5.75, 24.5, 28e6, model_dim=HALF),
    "C-twice-width": _row(4.66, 26.0, 168e6, model_dim=TWICE),
    "C-half-mlp": _row(5.12, 25.4, 53e6, mlp_dim=HALF),
    "C-twice-mlp": _row(4.75, 26.2, 90e6, mlp_dim=TWICE),
    "D-no-dropout": _row(5.77, 24.6, dropout=0.0),
    "D-dropout-0.2": _row(4.95, 25.5, dropout=0.2),
    "D-no-smoothing": _row(4.67, 25.3, label_smoothing=0.0),
    "D-smoothing-0.2": _row(5.47, 25.7, label_smoothing=0.2),
    "E-learned-positions": _row(4.92, 25.7, positions="learned"),
    "big": dataclasses.replace(
        _row(4.33, 26.4, 213e6, model_dim=TWICE, mlp_dim=TWICE, num_heads=TWICE, dropout=0.3),
        scales={"paper": {"num_steps": 300_000, "average": 20}},
    ),
}  # fmt: skip
ROWS["big"].paper.update(
    training_flops=2.3e19, training_flops_recomputed=training_flops(3.5 * 24, 8, 9.5)
)
TABLE_3 = tuple(ROWS)
# Beside Table 3, trained for as long: the model of 2014, with the recipe it has there. On a CPU it
# takes three steps in the time of two.
ROWS["RNNsearch"] = Row(
    dict(network="rnnsearch", optimizer="adam", schedule="cosine", label_smoothing=0.0), {},
    times={"num_steps": Fraction(3, 2)},
    scales={"small": dict(learning_rate=4e-3, warmup_steps=100)},
)  # fmt: skip

SCALES = {
    ("", "tiny"): dict(
        num_layers=2, model_dim=16, mlp_dim=32, num_heads=2, hidden=16, num_steps=12, eval_every=6,
        save_every=6, train_pairs=2000, test_pairs=24, batch_size=16, beam_size=2, warmup_steps=4,
        bound_step=70, limit_plus=10,
    ),
    ("grammar", "tiny"): dict(shared=False),
    # A grammar has text without end, which needs no dropout. Antecedents of one gender are what il
    # and elle are learned from first: see `Grammar`. A CPU computes again sooner than it keeps.
    ("grammar", "small"): dict(
        remat="products", shared=False, vocab_size=1200, train_pairs=200_000, same_gender=0.5,
        max_words=66, batching="tokens", batch_tokens=2000, num_steps=10_000, eval_every=500,
        save_every=500, warmup_steps=400, learning_rate=3e-3, schedule="cosine", pre_norm=True,
        dropout=0.0, label_smoothing=0.0,
    ),
    # The tiny Transformer of Wu et al. 2021, its training and its search, but for the places of the
    # norms and for the schedule: their own, --nopre_norm --schedule=inverse_sqrt, do worse here.
    ("multi30k", "small"): dict(
        languages="en-de", tokenizer="bpe", vocab_size=10_066,  # 10,000 merges
        num_layers=4, model_dim=128, mlp_dim=256, num_heads=4, dropout=0.3,
        batching="tokens", batch_tokens=4096, bound_step=4, num_steps=8000, warmup_steps=2000,
        learning_rate=5e-3, schedule="cosine", pre_norm=True, average=10, save_every=290,
        eval_every=290, beam_size=5, length_penalty=1.0, length_offset=0.0,
    ),
    ("multi30k", "tiny"): dict(languages="en-de", tokenizer="bpe", vocab_size=2000),
    # 3,396 trees are few. With tags the decoder learns sooner which word it writes about, and the
    # words that occur once teach it what to do with unknown ones.
    ("treebank", "small"): dict(
        languages="en-tagged", vocab_size=5284, shared=False, max_words=150, num_layers=4,
        model_dim=128, mlp_dim=256, dropout=0.2, batching="tokens", batch_tokens=4096,
        num_steps=6000, warmup_steps=1000, learning_rate=3e-3, schedule="cosine", pre_norm=True,
        limit_plus=300, beam_size=8, length_penalty=0.3,
    ),
    ("treebank", "tiny"): dict(
        languages="en-tree", shared=False, vocab_size=500, max_words=150, bound_step=150,
        limit_plus=20,
    ),
    ("", "paper"): dict(
        data="text", languages="en-de", tokenizer="bpe", vocab_size=37_000, num_layers=6,
        model_dim=512, mlp_dim=2048, num_heads=8, warmup_steps=4000, num_steps=100_000,
        max_words=100, batching="tokens", batch_tokens=25_000, eval_every=5000, save_every=1500,
        average=5,
    ),
}  # fmt: skip


def make_network(config: Config, vocab_sizes: tuple[int, int]) -> nn.Module:
    """The network of a config."""
    if config.network == "rnnsearch":
        # As in experiments.bahdanau2014 on the built-in corpus.
        attention = MemoryAttention(
            AdditiveScoring(config.model_dim, kernel_init=nn.initializers.normal(0.01)),
            implementation=config.named_implementation,
        )
        sizes = config.hidden, config.model_dim, config.model_dim
        return Seq2Seq(*vocab_sizes, *sizes, attention, init_scale=10.0, remat=config.remat)
    scorings = {
        "scaled_dot": ScaledDotHeads(),
        "dot": DotHeads(),
        "general": GeneralHeads(),
        "additive": AdditiveHeads(),
    }
    learned = config.positions == "learned"
    return Transformer(
        *vocab_sizes,
        num_layers=config.num_layers,
        model_dim=config.model_dim,
        mlp_dim=config.mlp_dim,
        num_heads=config.num_heads,
        head_dim=config.head_dim or None,
        value_dim=config.value_dim or config.model_dim // config.num_heads,
        num_kv_heads=config.num_kv_heads or None,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        pre_norm=config.pre_norm,
        shared=config.shared,
        positions=LearnedPositions(config.max_positions) if learned else SinusoidalPositions(),
        scoring=scorings[config.score],
        implementation=config.named_implementation,
        remat=config.remat,
    )


def make_model(config: Config) -> Model:
    """Init and loss; the vocabularies are as large as the config allows."""
    return encoder_decoder.make_model(config, make_network(config, (config.vocab_size,) * 2))


def build(config: Config) -> Experiment:
    """One row: its data, model and evaluation."""
    task = translation.load(config)
    network = make_network(config, tuple(t.vocab_size for t in task.tokenizers))
    reader = reading.Reader(network, "predicted", heads=config.network == "transformer")
    return encoder_decoder.make_experiment(config, task, reader)


def report(folder: Path) -> None:
    """Tables 2 to 4, the pronouns and the alignments by head, from the results in a folder."""
    transformer_tables.report(folder, __doc__.splitlines()[0], ROWS, TABLE_3)


PAPER = Paper(
    name="vaswani2017",
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
