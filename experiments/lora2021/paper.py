"""Hu et al. 2021: a pre-trained encoder that learns a task by few of its parameters."""

import dataclasses
from typing import Literal

from attn_research.models.bert import BertClassifier
from attn_research.training.lora import LORA, Adapted, LoRA
from attn_research.training.trainable import Trainable
from attn_research.types import PyTree
from experiments.harness.config import Config, OptimizerConfig, TrainConfig, setting
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.lora2021 import tables
from experiments.tasks.starting import values_of_run
from experiments.tasks.text_classification import encoder
from experiments.tasks.text_classification.scales import SENTENCES
from experiments.tasks.text_classification.task import TextClassificationTask

_LORA = {"method": ("lora",)}


@dataclasses.dataclass(frozen=True)
class AdaptedConfig(encoder.EncoderConfig):
    """The network, and what of it is trained. Sizes that are 0 are those of --init_from."""

    method: Literal["full", "last", "lora"] = setting(
        "lora",
        "What is trained: everything, the heads after the last block alone, or low-rank updates "
        "and the heads.",
    )
    rank: int = setting(8, "Rank r of an update.", 1, needs=_LORA)
    alpha: float = setting(16.0, "Scale α of an update, which is α / r times A B.", needs=_LORA)
    where: str = setting(
        "attention/(query|value)$",
        "Matrices that are updated: a regular expression, found in their paths.",
        needs=_LORA,
    )


def make_lora(model: AdaptedConfig) -> LoRA:
    """The updates of a config."""
    return LoRA(model.rank, model.alpha, model.where)


def make_network(config: Config, task: TextClassificationTask) -> BertClassifier | Adapted:
    """The network of a config, adapted where its method is."""
    network = encoder.make_encoder(config, task)
    if config.model.method != "lora":
        return network
    return Adapted(network, make_lora(config.model))


def is_fresh(path: str) -> bool:
    """Whether a parameter need not be among those that training starts from."""
    return path.startswith(f"{LORA}/") or encoder.is_head(path)


def merge_start(config: Config, params: PyTree) -> PyTree:
    """The parameters of --init_from; of a run with low-rank updates, with these added."""
    if LORA not in params:
        return params
    values = values_of_run(config.train.init_from)
    return LoRA(values["rank"], values["alpha"], values["where"]).apply(params)


def trainable(config: Config) -> Trainable | None:
    """The rule of a config's method."""
    return {"full": None, "last": encoder.is_head, "lora": is_fresh}[config.model.method]


_ALL = "attention/(query|key|value|output)$"
_EVERY = "(attention|mlp)/"  # feed-forward layers too
# The paper's comparison of methods, and Table 5: one budget of parameters spread in other ways.
ROWS = {
    "full": Row({"method": "full"}, scales={"small": dict(learning_rate=2e-4)}),
    "last": Row({"method": "last"}),
    "lora": Row(),
    "lora-q": Row({"where": "attention/query$", "rank": 16, "alpha": 32.0}),
    "lora-k": Row({"where": "attention/key$", "rank": 16, "alpha": 32.0}),
    "lora-v": Row({"where": "attention/value$", "rank": 16, "alpha": 32.0}),
    "lora-o": Row({"where": "attention/output$", "rank": 16, "alpha": 32.0}),
    "lora-qkvo": Row({"where": _ALL, "rank": 4, "alpha": 8.0}),
    "lora-all": Row({"where": _EVERY, "rank": 2, "alpha": 4.0}),
    "lora-r1": Row({"rank": 1, "alpha": 2.0}),
    "lora-r64": Row({"rank": 64, "alpha": 128.0}),
    "lora-all-r8": Row({"where": _EVERY, "rank": 8, "alpha": 16.0}),
}

SCALES = {
    "tiny": Scale(encoder.TINY, data={"stsb": dict(best_by="+pearson")}, time=TINY_TIME),
    "small": Scale(data={
        "grammar": SENTENCES | dict(num_steps=200, eval_every=50, save_every=200),
        "sst2": SENTENCES | dict(num_steps=656, eval_every=164, save_every=328),
        "sst2_phrases": SENTENCES | dict(num_steps=892, eval_every=223, save_every=223),
        "trec": SENTENCES | dict(num_steps=264, eval_every=66, save_every=264),
        "cola": SENTENCES | dict(num_steps=352, eval_every=44, save_every=176),
    }),
    # Appendix D.1, of RoBERTa base on SST-2: batches of 16, 60 epochs, a rate of 5e-4.
    "paper": Scale(dict(
        data="sst2_phrases", batching="sorted", batch_size=16, num_steps=252_540,
        eval_every=4209, save_every=4209, learning_rate=5e-4, warmup_steps=15_152, max_words=125,
        bucket_width=32,
    )),
}  # fmt: skip


TITLE = "Hu et al. 2021: how few parameters does an encoder need to learn a task?"
CONFIG = Config(
    train=TrainConfig(best_by="+accuracy"),
    optimizer=OptimizerConfig(optimizer="adamw", weight_decay=0.01, learning_rate=1e-3),
    task=encoder.READS,
    model=AdaptedConfig(),
)
PAPER = Paper(
    name="lora2021", title=TITLE, config=CONFIG, rows=ROWS, default_row="lora", scales=SCALES,
    task=TextClassificationTask, network=make_network, report=tables.report, trainable=trainable,
    fresh=is_fresh, complete=encoder.complete, adapt=merge_start,
)  # fmt: skip
