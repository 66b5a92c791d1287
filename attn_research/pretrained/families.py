"""Families of published models: from a config and named tensors to a network, and back."""

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from flax import traverse_util

from attn_research.pretrained import (
    albert,
    bert,
    big_bird,
    clip,
    dinov2,
    gpt,
    gpt2,
    llama,
    longformer,
    marian,
    roberta,
    t5,
    vit,
    whisper,
)
from attn_research.pretrained.checkpoint import Checkpoint
from attn_research.pretrained.family import Family, difference
from attn_research.pretrained.llama_gguf import from_gguf
from attn_research.pretrained.names import (
    LAYER,
    Name,
    Shapes,
    numbered,
    present,
    to_leaves,
    to_tensors,
)
from attn_research.pretrained.options import Options
from attn_research.pretrained.whisper_ctranslate2 import from_ctranslate2
from attn_research.types import PyTree

MODULES = (
    bert, roberta, albert, longformer, big_bird, gpt, gpt2, llama, t5, marian, whisper, vit, dinov2,
    clip,
)  # fmt: skip
FAMILIES: dict[str, Family] = {module.FAMILY.model_type: module.FAMILY for module in MODULES}
# A container's name, the architecture of which it is read, and the checkpoint as published.
CONVERTERS = {
    "gguf": ("GGUF", "llama", from_gguf),
    "ctranslate2": ("CTranslate2", "WhisperSpec", from_ctranslate2),
}
FEW = 3  # names of an error


class Pretrained(NamedTuple):
    """A network, and its parameters as `network.init` lays them out, of NumPy arrays."""

    network: nn.Module
    params: PyTree


def from_checkpoint(
    checkpoint: Checkpoint, *, ignore: Collection[str] = (), dtype: Any = np.float32
) -> Pretrained:
    """The network and parameters of a published checkpoint.

    The tensors tell which heads it has. ValueError, in one line, for a field of the config that may
    change the model and is not supported, and for tensors that are unknown, missing, not floats or
    of another shape. `ignore` names fields and tensors that are known not to matter.
    """
    checkpoint = _published(checkpoint)
    family = _family(checkpoint.config)
    source = _canonical(checkpoint.tensors, family.prefix)
    network = _network_of(checkpoint, ignore)
    shapes = _shapes(family, network)
    names = present(family.names(network), shapes)
    tied = family.tied(network)
    repeats = {first: each for each, first in tied.items() if each in source}
    source = {first: source[each] for first, each in repeats.items()} | source
    _check_names(names, shapes, source, {*tied, *family.ignored(network), *ignore})
    tensors = checkpoint.tensors
    leaves = to_leaves(names, shapes, tensors, source=source, dtype=dtype)
    for first, each in repeats.items():
        _check_tied(tensors, source[each], source[first])
    tree = traverse_util.unflatten_dict(leaves, sep="/")
    return Pretrained(network, {"params": tree})


def network_of(checkpoint: Checkpoint, *, ignore: Collection[str] = ()) -> nn.Module:
    """The network of a checkpoint, by its config and the names of its tensors.

    No tensor is read, and JAX computes nothing. Errors of the config are as in `from_checkpoint`.
    """
    return _network_of(_published(checkpoint), ignore)


def _network_of(checkpoint: Checkpoint, ignore: Collection[str]) -> nn.Module:
    family = _family(checkpoint.config)
    options = Options(checkpoint.config, ignore)
    network = family.network(options, _canonical(checkpoint.tensors, family.prefix))
    options.finish()
    return network


def to_checkpoint(network: nn.Module, params: PyTree) -> Checkpoint:
    """The checkpoint that the original library loads, in the dtype of the parameters.

    ValueError for a network that no format can express; it names for each format what it lacks.
    Fields that do not change the model, such as special tokens, are the caller's to add.
    """
    leaves = {
        path: np.asarray(leaf)
        for path, leaf in traverse_util.flatten_dict(params["params"], sep="/").items()
    }
    found = find_format(network, {path: leaf.shape for path, leaf in leaves.items()})
    return Checkpoint(found.config, to_tensors(found.names, leaves))


class Format(NamedTuple):
    """How a network is published: its family, its config, and the names of its tensors."""

    family: Family
    config: dict[str, Any]
    names: list[Name]


def find_format(network: nn.Module, shapes: Shapes) -> Format:
    """The format of a network with parameters of these shapes; ValueError where none has it."""
    reasons = []
    for family in FAMILIES.values():
        try:
            config = family.config(network) | {"model_type": family.model_type}
            names = present(family.names(network), shapes)
            tensors = {tensor for name in names for tensor in numbered(name, shapes)}
            lacking = difference(network, family.network(Options(config), tensors))
        except ValueError as error:
            reasons.append(f"{family.model_type}: {error}")
            continue
        if lacking is None:
            return Format(family, config, names)
        reasons.append(f"{family.model_type}: no field for {lacking}")
    raise ValueError(f"no format has this network: {'; '.join(reasons)}")


def _published(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint under the names of the original library, whatever the container's are."""
    if checkpoint.container not in CONVERTERS:
        return checkpoint
    container, wanted, convert = CONVERTERS[checkpoint.container]
    kind = checkpoint.architectures()[0]
    if kind != wanted:
        raise ValueError(
            f"{checkpoint.where}: {container} files of {kind!r} are not read, {wanted}'s are"
        )
    return convert(checkpoint)


def _family(config: Mapping[str, Any]) -> Family:
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ValueError(
            f"config field model_type is {kind!r}: supported are {', '.join(FAMILIES)}"
        )
    return FAMILIES[kind]


def _canonical(tensors: Collection[str], prefix: str) -> dict[str, str]:
    """The names of the tensors by those of our tables. ValueError where two are the same.

    Trunks are published with and without a prefix, and oldest norms have a gamma and a beta.
    """
    bare = not any(name.startswith(prefix) for name in tensors)
    words = {"gamma": "weight", "beta": "bias"}

    def rename(name: str) -> str:
        modern = re.sub(r"(?<=LayerNorm\.)(gamma|beta)$", lambda found: words[found[0]], name)
        return prefix + modern if bare else modern

    source: dict[str, str] = {}
    for name in tensors:
        other = source.setdefault(rename(name), name)
        if other != name:
            raise ValueError(f"tensor {name} is {other} by another name: leave one out")
    return source


def _shapes(family: Family, network: nn.Module) -> Shapes:
    """The shapes of the parameters, by path."""
    tree = jax.eval_shape(network.init, jax.random.key(0), *family.inputs(network))["params"]
    flat = traverse_util.flatten_dict(tree, sep="/")
    return {path: leaf.shape for path, leaf in flat.items()}


def _check_names(
    names: list[Name], shapes: Shapes, source: Mapping[str, str], others: Collection[str]
) -> None:
    """ValueError unless there are all tensors of a table, and no more than these and `others`."""
    missing, known = [], set()
    for name in names:
        wanted = numbered(name, shapes, most=len(source) + 1)
        known.update(wanted)
        missing += [each for each in wanted if each not in source]
    if missing:
        raise ValueError(f"the checkpoint lacks {_few(missing)}, which the config asks for")
    patterns = [re.escape(each).replace(re.escape(LAYER), r"\d+") for each in others]
    ignored = re.compile("|".join(patterns) or "$^")
    unknown = [
        original
        for canonical, original in source.items()
        if canonical not in known
        and not ignored.fullmatch(canonical)
        and not ignored.fullmatch(original)
    ]
    if unknown:
        raise ValueError(
            f"the config's model has no tensor {_few(unknown)}: if that does not matter, give "
            f"ignore={tuple(unknown[:FEW])}"
        )


def _check_tied(tensors: Mapping[str, np.ndarray], repeated: str, first: str) -> None:
    """ValueError where two tensors that the model shares differ."""
    if repeated != first and not np.array_equal(tensors[repeated], tensors[first]):
        raise ValueError(f"tensor {repeated} differs from {first}, and the config ties both")


def _few(names: list[str]) -> str:
    listed = ", ".join(names[:FEW])
    return listed if len(names) <= FEW else f"{listed} (and {len(names) - FEW} more)"
