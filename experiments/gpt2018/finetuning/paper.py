"""Radford et al. 2018, section 3.2: a decoder that has read, fine-tuned on labelled texts."""

import dataclasses
from collections.abc import Set

from attn_research.models.decoder_classifier import DecoderClassifier
from attn_research.types import PyTree
from experiments.gpt2018 import start
from experiments.gpt2018.finetuning import tables
from experiments.gpt2018.network import GPTConfig, make_gpt
from experiments.harness.config import Config, OptimizerConfig, TrainConfig
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.tasks.text_classification import encoder
from experiments.tasks.text_classification.batches import longest
from experiments.tasks.text_classification.data import read_tokenizer
from experiments.tasks.text_classification.scales import FINE_TUNING, THREE_EPOCHS
from experiments.tasks.text_classification.task import TextClassificationTask


def make_network(config: Config, task: TextClassificationTask) -> DecoderClassifier:
    """The network of a config; ValueError for tags of words, whose states see no later word."""
    if task.labels == "tags":
        raise ValueError(
            f"--data={config.task.text.data}: a decoder classifies whole texts, for the state of a "
            "word has not seen those after it; give texts with classes or numbers"
        )
    gpt = make_gpt(config, task.vocab_size, longest(config.task.text))
    examples, dropout = config.task.batching.row_examples, config.model.dropout
    return DecoderClassifier(gpt, task.num_outputs, examples, dropout)


def is_head(path: str) -> bool:
    """Whether a parameter is that of the classes, which a new task begins anew."""
    return path.startswith("params/classifier/")


def complete(config: Config, stated: Set[str]) -> Config:
    """The config with the network and the tokenizer of --init_from, whatever is `stated`."""
    choices = start.choices_of(config)
    if choices is None:
        return config
    size = read_tokenizer(choices["vocabulary"]).vocab_size
    return config.replace(tokenizer="given", vocab_size=size, **choices)


def adapt(config: Config, params: PyTree) -> PyTree:
    """The parameters of --init_from without its output layer."""
    text = config.task.text
    found = start.cut(params, text.vocab_size, longest(text))["params"]
    return {"params": {name: each for name, each in found.items() if name != "head"}}


_SMALLEST = dict(num_layers=2, model_dim=128, mlp_dim=512, num_heads=2)
ROWS = {
    "fine-tuned": Row(),
    "from-nothing": Row(
        _SMALLEST | dict(tokenizer="words", vocab_size=20_000, learning_rate=1e-3),
        scales={"tiny": encoder.TINY_SIZES},
    ),
}
SCALES = {
    "tiny": Scale(
        encoder.TINY_READING | encoder.TINY_SIZES, data={"stsb": dict(best_by="+pearson")},
        time=TINY_TIME,
    ),
    "small": Scale(data=FINE_TUNING),
    # Section 4.1; its weight on language modelling is not here.
    "paper": Scale(THREE_EPOCHS | dict(learning_rate=6.25e-5, warmup_steps=13)),
}  # fmt: skip


TITLE = "Radford et al. 2018: a decoder that has read, fine-tuned on labelled texts"
CONFIG = Config(
    train=TrainConfig(best_by="+accuracy"),
    optimizer=OptimizerConfig(optimizer="adamw", weight_decay=0.01, learning_rate=1e-4),
    task=dataclasses.replace(
        encoder.READS, text=dataclasses.replace(encoder.READS.text, class_token=False)
    ),
    model=GPTConfig(dropout=0.1, attention_dropout=0.1),
)
PAPER = Paper(
    name="gpt2018.finetuning", title=TITLE, config=CONFIG, rows=ROWS, default_row="fine-tuned",
    scales=SCALES, task=TextClassificationTask, network=make_network, report=tables.report,
    fresh=is_head, complete=complete, adapt=adapt,
)  # fmt: skip
