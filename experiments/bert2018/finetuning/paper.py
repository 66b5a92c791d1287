"""Devlin et al. 2018, section 4: fine-tuning on sentences, pairs of sentences and words."""

from experiments.bert2018.finetuning import tables
from experiments.harness.config import Config, OptimizerConfig, TrainConfig
from experiments.harness.paper import TINY_TIME, Paper, Row, Scale
from experiments.tasks.text_classification.encoder import (
    READS,
    TINY,
    TINY_NETWORK,
    EncoderConfig,
    complete,
    is_head,
    make_encoder,
)
from experiments.tasks.text_classification.scales import FINE_TUNING, THREE_EPOCHS
from experiments.tasks.text_classification.task import TextClassificationTask

# The paper's sizes that a CPU trains from nothing: Turc et al. 2019, BERT-tiny.
_SMALLEST = dict(num_layers=2, model_dim=128, mlp_dim=512, num_heads=2, max_length=512)
ROWS = {
    "fine-tuned": Row(),
    "from-nothing": Row(
        _SMALLEST | dict(tokenizer="words", vocab_size=20_000, learning_rate=1e-3),
        scales={"tiny": TINY_NETWORK},
    ),
}

SCALES = {
    "tiny": Scale(TINY, data={"stsb": dict(best_by="+pearson")}, time=TINY_TIME),
    "small": Scale(data=FINE_TUNING),
    # Section 4 and appendix A.3, with a rate of 5e-5, 4e-5, 3e-5 or 2e-5.
    "paper": Scale(THREE_EPOCHS | dict(learning_rate=3e-5, warmup_steps=630)),
}  # fmt: skip


TITLE = "Devlin et al. 2018: an encoder that has read, fine-tuned on labelled texts"
CONFIG = Config(
    train=TrainConfig(best_by="+accuracy"),
    optimizer=OptimizerConfig(optimizer="adamw", weight_decay=0.01, learning_rate=1e-4),
    task=READS,
    model=EncoderConfig(),
)
PAPER = Paper(
    name="bert2018.finetuning", title=TITLE, config=CONFIG, rows=ROWS, default_row="fine-tuned",
    scales=SCALES, task=TextClassificationTask, network=make_encoder, report=tables.report,
    fresh=is_head, complete=complete,
)  # fmt: skip
