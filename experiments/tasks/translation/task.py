"""What the encoder-decoder papers share: attention by flag, the loss, and one row of each.

A network here is anything with the methods of `attn_research.layers.contracts`.
"""

import dataclasses
import functools
import inspect
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.data.tokenizers import EOS, PAD
from attn_research.layers import attention
from attn_research.training.objectives import vocabulary_loss
from attn_research.training.step import Sums
from attn_research.types import PyTree
from experiments import pair_batches, reading, translation
from experiments.paper import Experiment, Model, knob, make_config_placement


@dataclasses.dataclass(frozen=True)
class Config(translation.TranslationConfig):
    """The knobs of the loss."""

    label_smoothing: float = knob(0.0, "probability spread over the vocabulary", 0.0)
    loss_per: Literal["token", "sentence"] = knob(
        "token", "what the gradient of a batch is the mean over"
    )
    loss_chunk: int = knob(
        0, "target words whose scores the loss holds at once; 0: as many as are fast", 0
    )


@dataclasses.dataclass(frozen=True)
class MemoryConfig(Config):
    """The knobs of where a recurrent decoder looks."""

    score: Literal["additive", "concat", "dot", "scaled_dot", "general", "location"] = knob(
        "additive", "how alike a state and an annotation are"
    )
    locality: Literal["global", "local_m", "local_p"] = knob(
        "global", "look at all words, around the same place, or around a predicted one"
    )
    half_width: int = knob(10, "words on either side a local look reaches", 1)


def make_attention(
    config: MemoryConfig, features: int, init: nn.initializers.Initializer | None = None
) -> attention.MemoryAttention:
    """The attention a config names, its matrices drawn by `init`, else as each layer has it."""
    drawn = {} if init is None else {"kernel_init": init}
    match config.score:
        case "additive":
            scoring = attention.AdditiveScoring(features, **drawn)
        case "concat":
            drawn_too = {} if init is None else {"vector_init": init}
            scoring = attention.AdditiveScoring(features, use_bias=False, **drawn, **drawn_too)
        case "dot":
            scoring = attention.DotScoring()
        case "scaled_dot":
            scoring = attention.ScaledDotScoring(features, **drawn)
        case "general":
            scoring = attention.GeneralScoring(**drawn)
        case "location":
            scoring = attention.LocationScoring(config.max_words + 1, **drawn)
    match config.locality:
        case "global":
            locality = attention.Global()
        case "local_m":
            locality = attention.Monotonic(config.half_width)
        case "local_p":
            locality = attention.Predictive(config.half_width, **drawn)
    return attention.MemoryAttention(scoring, locality, config.named_implementation)


def make_model(config: Config, network: nn.Module) -> Model:
    """Init and loss of a network."""
    if (
        config.batching == "packed"
        and "segments" not in inspect.signature(network.encode).parameters
    ):
        raise ValueError(
            "--batching=packed needs a network that keeps the sentences of a row apart, as the "
            f"Transformer does; {type(network).__name__} does not"
        )

    def init(key):
        ids = jnp.zeros((1, 2), jnp.int32)
        return network.init(key, ids, ids == PAD, ids)

    def loss(params, batch, key, train=True):
        source, target = batch["source"], batch["target"]
        segments = None
        if "target_segments" in batch:
            segments = batch["source_segments"], batch["target_segments"]
        states = network.apply(
            params,
            source,
            source != PAD,
            pair_batches.previous_words(target, segments and segments[1]),
            train,
            segments,
            rngs={"dropout": key},
            method="hidden_states",
        )
        total, tokens = vocabulary_loss(
            lambda states: network.apply(params, states, method="score_words"),
            states,
            target,
            target != PAD,
            config.label_smoothing if train else 0.0,
            config.loss_chunk or None,
        )
        sentences = jnp.sum(target == EOS, dtype=jnp.float32)
        weight = sentences if train and config.loss_per == "sentence" else tokens
        return Sums(total, weight, {"target_tokens": tokens, "examples": sentences})

    eval_loss = functools.partial(loss, train=False)
    return Model(init, loss, eval_loss, _largest_batch(config), network.tensor_rules)


def _largest_batch(config: Config) -> PyTree:
    """The shapes of a batch of the longest sentences."""
    rows, length = config.batch_size, config.max_words + 1
    names = ["source", "target"]
    if config.batching == "tokens":
        rows = max(1, config.batch_tokens // length)
    if config.batching == "packed":
        rows, length = max(1, config.batch_tokens // config.row_length), config.row_length
        names += ["source_segments", "target_segments"]
    rows += -rows % make_config_placement(config).row_multiple
    return dict.fromkeys(names, jax.ShapeDtypeStruct((rows, length), jnp.int32))


def make_experiment(config: Config, task: translation.Task, reader: reading.Reader) -> Experiment:
    """One row: its data, model and evaluation."""
    batches = pair_batches.make_batches(config, task.train)

    def evaluate(params, folder):
        return reading.evaluate_members(config, task, [(reader, params)], folder)

    return Experiment(
        model=make_model(config, reader.network),
        batches=batches.iterate,
        dev_batches=lambda: (batch for _, batch in pair_batches.eval_batches(config, task.dev)),
        train_sample=lambda: (
            batch for _, batch in pair_batches.eval_batches(config, pair_batches.sample(task.train))
        ),
        evaluate=evaluate,
        about=task.about | {"padding_efficiency": round(batches.padding_efficiency(), 4)},
        steps_per_epoch=batches.per_epoch / (config.segmentations if config.bpe_dropout else 1),
    )
