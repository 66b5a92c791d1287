"""Radford et al. 2018 and 2019: GPT and GPT-2."""

from experiments.gpt2018 import tables
from experiments.gpt2018.network import GPTConfig, make_network
from experiments.gpt2018.rows import ROWS, SCALES
from experiments.gpt2018.start import adapt, complete
from experiments.harness.config import Config, OptimizerConfig
from experiments.harness.paper import Paper
from experiments.tasks.language_modeling.config import LanguageModelingConfig
from experiments.tasks.language_modeling.task import LanguageModelingTask

TITLE = "Radford et al. 2018, 2019: a decoder that predicts each next token"
CONFIG = Config(
    optimizer=OptimizerConfig(optimizer="adamw", weight_decay=0.1),
    task=LanguageModelingConfig(),
    model=GPTConfig(),
)
PAPER = Paper(
    name="gpt2018", title=TITLE, config=CONFIG, rows=ROWS, default_row="small", scales=SCALES,
    task=LanguageModelingTask, network=make_network, report=tables.report, adapt=adapt,
    complete=complete,
)  # fmt: skip
