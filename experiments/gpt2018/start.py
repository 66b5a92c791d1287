"""The network, tokenizer and parameters of GPT from --init_from, a published checkpoint or a run.

The network is described by values of the config, so that a run can be read without the folder.
"""

import dataclasses
import functools
from collections.abc import Set
from typing import Any

from flax import traverse_util

from attn_research.data.files import user_path
from attn_research.layers.embeddings import LearnedPositions
from attn_research.models.gpt import GPT
from attn_research.pretrained import network_of, read_checkpoint
from attn_research.trees import named_leaves
from attn_research.types import PyTree
from experiments.gpt2018.network import BLOCKS, GPTConfig, make_gpt
from experiments.harness.config import Config
from experiments.tasks.language_modeling.data import read_given
from experiments.tasks.starting import check_described, values_of_run

# Values of training, which are not those of the network that it starts from.
_FREE = "dropout", "attention_dropout"
_CHOICES = tuple(each.name for each in dataclasses.fields(GPTConfig) if each.name not in _FREE)


def complete(config: Config, stated: Set[str]) -> Config:
    """The config with the network and the tokenizer of --init_from, whatever is `stated`.

    A folder that is not there changes nothing; training and --describe refuse it.
    """
    choices = choices_of(config)
    return config if choices is None else config.replace(tokenizer="given", **choices)


def choices_of(config: Config) -> dict[str, Any] | None:
    """The values of the network of --init_from, and its vocabulary; None where there is none."""
    folder = config.train.init_from
    if not folder or not user_path(folder).exists():
        return None
    values = values_of_run(folder)
    choices = _of_checkpoint(folder, config) if values is None else _of_run(folder, values)
    return choices | {"vocabulary": folder}


def adapt(config: Config, params: PyTree) -> PyTree:
    """The parameters of --init_from, with as many tokens and positions as can be read here.

    Published embeddings may have more rows than there are tokens.
    """
    if config.task.text.tokenizer != "given":
        return params
    tokens = read_given(config.task.text.vocabulary).vocab_size
    return cut(params, tokens, config.task.rows.context)


def cut(params: PyTree, tokens: int, positions: int) -> PyTree:
    """Parameters of GPT with so many tokens and positions at most, the first ones."""
    ends = {
        "params/words/embedding": (slice(tokens),),
        "params/head/kernel": (slice(None), slice(tokens)),
        "params/positions/table": (slice(positions),),
    }
    leaves = named_leaves(params)
    cut = {path: leaves[path][end] for path, end in ends.items() if path in leaves}
    return traverse_util.unflatten_dict(leaves | cut, sep="/")


def _of_run(folder: str, values: dict[str, Any]) -> dict[str, Any]:
    if missing := [name for name in ("block", "positions", "tied") if name not in values]:
        raise ValueError(f"--init_from={folder}: a run without {missing[0]} is no GPT")
    return {name: values[name] for name in _CHOICES if name in values}


def _of_checkpoint(folder: str, config: Config) -> dict[str, Any]:
    """The values of a published network; ValueError for one that they do not describe."""
    network = _network(folder)
    if not isinstance(network, GPT):
        raise ValueError(f"--init_from={folder}: {type(network).__name__} is no GPT")
    choices = _choices(network)
    # Its positions are compared below.
    plain = make_gpt(config.replace(**choices, **dict.fromkeys(_FREE, 0.0)), network.vocab_size, 1)
    width = network.model_dim // network.num_heads
    block = dataclasses.replace(network.block, dropout=0.0)
    network = network.clone(block=block, attention_dropout=0.0)
    if network.head_dim == width:
        network = network.clone(head_dim=None)
    if isinstance(network.positions, LearnedPositions):
        plain = plain.clone(positions=network.positions)
    check_described(folder, network, plain)
    return choices


@functools.lru_cache(maxsize=2)
def _network(folder: str):
    return network_of(read_checkpoint(folder))


def _choices(network: GPT) -> dict[str, Any]:
    """The values of the config that are nearest to a network."""

    def kind(block):
        return block.pre_norm, block.norm, block.gated

    block = next((k for k, each in BLOCKS.items() if kind(each) == kind(network.block)), "gpt2")
    kinds = {"learned": "positions", "rotary": "rotary", "alibi": "position_bias"}
    positions = next((kind for kind, has in kinds.items() if getattr(network, has)), "none")
    found = dict(
        num_layers=network.num_layers,
        model_dim=network.model_dim,
        mlp_dim=network.mlp_dim,
        num_heads=network.num_heads,
        num_kv_heads=network.num_kv_heads or 0,
        block=block,
        positions=positions,
        norm_epsilon=network.block.norm_epsilon,
        tied=network.tied,
    )
    if positions == "rotary":
        found["rotation_base"] = network.rotary.base
    if BLOCKS[block].use_bias:
        found["biases"] = network.block.use_bias
    return found
