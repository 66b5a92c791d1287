"""Alayrac et al. 2022: a frozen language model that attends to the images in its text."""

import dataclasses
import logging
import math

import jax
import optax
from flax import traverse_util

from attn_research.layers.convolution import GridEncoder
from attn_research.layers.embeddings import LearnedPositions
from attn_research.layers.feed_forward import GLOROT
from attn_research.layers.gated import GatedDecoderBlock
from attn_research.layers.resampler import PerceiverResampler
from attn_research.layers.transformer import DecoderBlock
from attn_research.models.flamingo import Flamingo
from attn_research.models.gpt import GPT, GPT2_BLOCK
from attn_research.training.optimizers import by_path
from attn_research.training.trainable import Trainable
from attn_research.trees import named_leaves
from attn_research.types import PyTree
from experiments.flamingo2022 import tables
from experiments.flamingo2022.config import MASKS, FlamingoConfig
from experiments.flamingo2022.rows import ROWS, SCALES
from experiments.harness.config import Config, OptimizerConfig, TrainConfig
from experiments.harness.paper import Paper, config_optimizer
from experiments.harness.program import make_program
from experiments.harness.training import train
from experiments.tasks.visual_questions.config import CELL, VisualQuestionsConfig
from experiments.tasks.visual_questions.data import IMAGE_ID
from experiments.tasks.visual_questions.task import VisualQuestionsTask


def make_network(config: Config, task: VisualQuestionsTask) -> Flamingo:
    """The network of a config."""
    model, part, execution = config.model, config.task, config.execution
    sees = model.sees != "nothing"
    block = dataclasses.replace(GPT2_BLOCK, dropout=model.dropout, kernel_init=GLOROT)
    named = execution.named_implementation
    language = GPT(
        part.vocab_size,
        **model.sizes(),
        block=block,
        positions=LearnedPositions(part.described_length - 1),
        make_block=GatedDecoderBlock if sees else DecoderBlock,
        implementation=named,
        remat=execution.remat,
    )
    if not sees:
        return Flamingo(language, None, None, IMAGE_ID)
    resampler = None
    if model.num_latents:
        sizes = model.sizes() | dict(num_layers=model.resampler_layers)
        resampler = PerceiverResampler(
            model.num_latents, **sizes, config=block, implementation=named
        )
    vision = GridEncoder(
        model.vision_width, round(math.log2(CELL)), model.model_dim, model.overlapping
    )
    mask, numbered = MASKS[model.sees], model.numbered
    return Flamingo(language, vision, resampler, IMAGE_ID, mask=mask, numbered=numbered)


def is_frozen(path: str) -> bool:
    """Whether a parameter is one of the language model."""
    return path.startswith("params/language/") and "/gated/" not in path


def trainable(config: Config) -> Trainable | None:
    """The rule of what is trained: all but the language model, or where it is alone the model."""
    return None if config.model.sees == "nothing" else lambda path: not is_frozen(path)


def optimizer(config: Config) -> optax.GradientTransformation:
    """The optimizer of a config, with another learning rate for gates."""
    plain = config_optimizer(config)
    if config.model.sees == "nothing":
        return plain
    rate = config.model.gate_speed * config.optimizer.learning_rate

    def label(path: str) -> str:
        return "gates" if path.endswith("_gate") else "rest"

    return by_path({"gates": config_optimizer(config, rate), "rest": plain}, label)


def initial(config: Config, task: VisualQuestionsTask) -> PyTree | None:
    """Parameters whose language model has been trained on texts alone."""
    if config.model.sees == "nothing":
        return None
    steps, learns = config.model.language_steps, config.model.language_learns
    logging.info("%d steps of the language model alone, which is then frozen", steps)
    periods = dict.fromkeys(("num_steps", "eval_every", "save_every"), steps)
    alone = config.replace(sees="nothing", learns=learns, **periods)
    learned = train(make_program(PAPER, alone, dataclasses.replace(task, config=alone)), None, None)
    drawn = jax.jit(make_program(PAPER, config, task).init)(jax.random.key(config.train.seed))
    return traverse_util.unflatten_dict(named_leaves(drawn) | named_leaves(learned), sep="/")


TITLE = "Alayrac et al. 2022: what does a frozen language model need to see?"
CONFIG = Config(
    train=TrainConfig(num_steps=3000, eval_every=500, save_every=500, best_by="+accuracy"),
    optimizer=OptimizerConfig(
        optimizer="muon", learning_rate=5e-3, weight_decay=0.01, warmup_steps=50
    ),
    task=VisualQuestionsConfig(),
    model=FlamingoConfig(num_layers=4, model_dim=64, mlp_dim=128, num_heads=4),
)
PAPER = Paper(
    name="flamingo2022", title=TITLE, config=CONFIG, rows=ROWS, default_row="last", scales=SCALES,
    task=VisualQuestionsTask, network=make_network, report=tables.report, initial=initial,
    trainable=trainable, optimizer=optimizer,
)  # fmt: skip
