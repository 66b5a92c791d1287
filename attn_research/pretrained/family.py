"""Published architectures: how their configs and tensor names are read and written."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers.embeddings import LearnedPositions
from attn_research.layers.heads import NORMAL
from attn_research.pretrained.names import Name
from attn_research.pretrained.options import Options


def text(network: nn.Module) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The input of a network that reads ids."""
    return (jax.ShapeDtypeStruct((1, 1), jnp.int32),)


def pair(network: nn.Module) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The inputs of a network that reads ids and predicts ids."""
    (ids,) = text(network)
    return ids, jax.ShapeDtypeStruct(ids.shape, jnp.bool_), ids


@dataclasses.dataclass(frozen=True)
class Family:
    """A published architecture and its file format.

    `network` makes ours of a config and of the names of the tensors, which tell the heads; `config`
    is the way back, with ValueError for a network of another kind. `names` is the one table of
    tensors of a network, for both directions. `prefix` begins the names of the trunk, which a
    checkpoint of the trunk alone may leave out. `tied` are tensors that repeat another, and
    `ignored` are those that hold no parameter of the network, "{layer}" being any number. `inputs`
    are the shapes that the network is initialized with.
    """

    model_type: str
    prefix: str
    network: Callable[[Options, Collection[str]], nn.Module]
    config: Callable[[nn.Module], dict[str, Any]]
    names: Callable[[nn.Module], tuple[Name, ...]]
    _: dataclasses.KW_ONLY
    tied: Callable[[nn.Module], Mapping[str, str]]
    ignored: Callable[[nn.Module], tuple[str, ...]]
    inputs: Callable[[nn.Module], tuple[Any, ...]] = text


TOWERS = "vision", "text"  # fields of networks that have networks


def comparable(network: nn.Module) -> nn.Module:
    """The network without what no file holds: initialization, execution, unread choices."""
    fields = {field.name for field in dataclasses.fields(network)}
    unread = {"implementation": None, "remat": "none"}
    changes: dict[str, Any] = {k: v for k, v in unread.items() if k in fields}
    changes |= {name: comparable(getattr(network, name)) for name in TOWERS if name in fields}
    if "block" in fields:
        block = dataclasses.replace(network.block, kernel_init=NORMAL, output_init=None)
        changes["block"] = block
    if "positions" in fields and isinstance(network.positions, LearnedPositions):
        changes["positions"] = LearnedPositions(network.positions.max_length)
    if "heads" in fields:
        changes["heads"] = tuple(sorted(network.heads))
        if not {"classifier", "token_classifier"} & set(network.heads):
            changes |= {"num_classes": 2, "classifier_dropout": 0.0}
    return network.clone(**changes)


def difference(network: nn.Module, other: nn.Module) -> str | None:
    """The first field in which two networks differ, or None."""
    network, other = comparable(network), comparable(other)
    for field in dataclasses.fields(network):
        if field.name in ("parent", "name"):
            continue
        ours, theirs = getattr(network, field.name), getattr(other, field.name)
        if ours != theirs:
            return field.name
    return None
