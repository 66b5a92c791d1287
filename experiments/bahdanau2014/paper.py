"""Bahdanau, Cho, Bengio 2014: networks, rows and scales of Tables 1 and 2, Figures 2 and 3."""

import dataclasses

from flax import linen as nn

from attn_research.layers.scoring import PROJECTED
from attn_research.models.rnn_search import RNNSearch
from experiments.bahdanau2014 import tables
from experiments.harness.config import Config, fraction, setting
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.tasks.translation.config import TranslationConfig
from experiments.tasks.translation.memory import (
    ATTENTION,
    MEMORY,
    NEEDS,
    MemoryConfig,
    make_attention,
)
from experiments.tasks.translation.task import TranslationTask


@dataclasses.dataclass(frozen=True)
class RNNSearchConfig:
    """The network; sizes have the letters of the paper's appendix."""

    attention: bool = setting(
        True, "Attend to annotations (RNNsearch), or read one vector (RNNencdec)."
    )
    hidden: int = setting(256, "Units n of each recurrence.", 1)
    maxout: int = setting(128, "Maxout units l of the output layer.", 1)
    embedding: int = setting(128, "Width m of word embeddings.", 1)
    alignment: int = setting(
        128, "Hidden units n' of the score, or the width it projects to.", 1,
        needs=[ATTENTION, {"score": PROJECTED}],
    )  # fmt: skip
    embedding_dropout: float = fraction(0.0, "Dropout of word embeddings.")
    word_dropout: float = fraction(0.0, "Dropout of whole previous target words (not 2014).")
    annotation_dropout: float = fraction(0.0, "Dropout of annotations.")
    output_dropout: float = fraction(0.0, "Dropout of the maxout layer.")
    init_scale: float = setting(
        1.0, "Factor on the standard deviations of the paper's initial weights.", 0.0
    )
    tied: bool = setting(
        False, "One matrix for source embedding, target embedding and output layer (not 2014)."
    )
    conditional: bool = setting(
        False, "Decoder with two units a step, attention between them (Sennrich et al. 2017)."
    )
    memory: MemoryConfig = MEMORY


# What the paper printed: Table 1, and Table 2 with NLL per sentence.
FIGURES = "bleu", "no_unk", "updates", "epochs", "hours", "train_nll", "dev_nll"


def _row(max_words: int, printed: tuple[float, ...], *, attention: bool) -> Row:
    paper = dict(zip(FIGURES, printed, strict=True))
    return Row({"attention": attention, "max_words": max_words}, paper)


ROWS = {
    "RNNencdec-30": _row(30, (13.93, 24.19, 8.46e5, 6.4, 109, 28.1, 53.0), attention=False),
    "RNNsearch-30": _row(30, (21.50, 31.44, 4.71e5, 3.6, 113, 26.7, 47.2), attention=True),
    "RNNencdec-50": _row(50, (17.82, 26.71, 6.00e5, 4.5, 108, 44.0, 43.6), attention=False),
    "RNNsearch-50": _row(50, (26.75, 34.16, 2.88e5, 2.2, 111, 40.7, 38.1), attention=True),
}

SCALES = {
    "tiny": Scale(dict(
        hidden=24, embedding=16, maxout=16, alignment=16, num_steps=12, eval_every=6, save_every=6,
        train_pairs=2000, test_pairs=24, batch_size=16, beam_size=2, warmup_steps=2,
        bucket_width=70,
    ), data={
        "multi30k": dict(languages="en-de", tokenizer="bpe", vocab_size=2000),
    }, time=TINY_TIME),
    "small": Scale(data={
        "grammar": dict(
            hidden=128, embedding=96, maxout=96, alignment=96, init_scale=10.0, vocab_size=1200,
            batch_size=64, num_steps=1000, eval_every=500, save_every=500, learning_rate=4e-3,
        ),
        "multi30k": dict(
            languages="en-de", tokenizer="bpe", vocab_size=10_066,  # 10,000 merges
            hidden=256, embedding=128, maxout=128, alignment=256, embedding_dropout=0.2,
            annotation_dropout=0.4, output_dropout=0.4, label_smoothing=0.1, init_scale=10.0,
            tied=True, conditional=True, num_steps=10_000, learning_rate=1.5e-3, warmup_steps=200,
            batching="tokens", batch_tokens=1000, bucket_width=4, beam_size=12, length_penalty=0.6,
        ),
    }),
    "paper": Scale(dict(
        data="text", tokenizer="moses", hidden=1000, embedding=620, maxout=500, alignment=1000,
        optimizer="adadelta", learning_rate=1.0, schedule="constant", batch_size=80,
        num_steps=288_000, eval_every=5000, save_every=1000, beam_size=12,
    )),
}  # fmt: skip


def make_network(config: Config, task: TranslationTask) -> RNNSearch:
    """The network of a config; attention is the only difference between the rows."""
    model, attention = config.model, None
    if model.attention:
        # The paper's initialization is that of its own score; others have their usual one.
        init = nn.initializers.normal(0.001 * model.init_scale)
        init = init if model.memory.score == "additive" else None
        attention = make_attention(config, model.alignment, init)
    return RNNSearch(
        *task.vocab_sizes, hidden_dim=model.hidden, embedding_dim=model.embedding,
        maxout_dim=model.maxout, attention=attention, init_scale=model.init_scale,
        embedding_dropout=model.embedding_dropout, word_dropout=model.word_dropout,
        annotation_dropout=model.annotation_dropout, output_dropout=model.output_dropout,
        tied=model.tied, conditional=model.conditional, remat=config.execution.remat,
    )  # fmt: skip


TITLE = "Bahdanau, Cho, Bengio 2014, Tables 1-2, Figures 2-3: does a sentence fit into one vector?"
CONFIG = Config(task=TranslationConfig(), model=RNNSearchConfig())
PAPER = Paper(
    name="bahdanau2014", title=TITLE, config=CONFIG, rows=ROWS, default_row="RNNsearch-50",
    scales=SCALES, task=TranslationTask, network=make_network, report=tables.report, needs=NEEDS,
)  # fmt: skip
