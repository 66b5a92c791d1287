"""Adapter folders of the library peft: low-rank updates and new heads, read and written.

A folder holds adapter_config.json and adapter_model.safetensors, whose tensors are called by the
original modules, "base_model.model.MODULE.lora_A.weight" [r, in] and "lora_B" [out, r].
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn
from flax import traverse_util

from attn_research.data.files import read_json_object, user_path, write_whole
from attn_research.pretrained.families import Format, find_format
from attn_research.pretrained.formats.safetensors import read_safetensors, write_safetensors
from attn_research.pretrained.names import LAYER, Name, Shapes, numbered
from attn_research.pretrained.options import Options
from attn_research.types import PyTree

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_START = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_TASKS = {"ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS"}
# Fields that change what an adapter does, with the values that leave it at W_0 + (α / r) A B.
_ONLY = {
    "peft_type": ("LORA",), "bias": ("none",), "fan_in_fan_out": (False,), "use_dora": (False,),
    "use_rslora": (False,), "use_qalora": (False,), "use_bdlora": (None,), "lora_bias": (False,),
    "rank_pattern": ({}, None), "alpha_pattern": ({}, None), "layer_replication": (None,),
    "target_parameters": (None,), "trainable_token_indices": (None,),
    "alora_invocation_tokens": (None,), "arrow_config": (None,), "velora_config": (None,),
    "kasa_config": (None,), "monteclora_config": (None,), "megatron_config": (None,),
}  # fmt: skip
# Those of where an adapter is, how it begins and how it is trained.
_WITHOUT_EFFECT = """
    auto_mapping base_model_name_or_path corda_config ensure_weight_tying eva_config exclude_modules
    inference_mode init_lora_weights layers_pattern layers_to_transform loftq_config lora_dropout
    lora_ga_config megatron_core modules_to_save peft_version qalora_group_size revision
    target_modules task_type
"""


class Adapter(NamedTuple):
    """Low-rank updates, and parameters that are saved whole, such as those of a new head.

    `low` has A [L, in, r] and B [L, r, out] as "a" and "b" below the paths of kernels, and `saved`
    the parameters by their paths, as `network.init` lays them out below "params".
    """

    rank: int
    alpha: float
    low: PyTree
    saved: PyTree


def read_adapter(folder: str | Path, network: nn.Module, params: PyTree) -> Adapter:
    """The adapter in a folder, of a network with these parameters.

    Layers that it leaves out have updates of 0. ValueError for a field of its config that changes
    the model and is not supported, and for tensors that are unknown or of another shape.
    """
    folder = user_path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no adapter of peft in {folder}: {name} is missing")
    options = Options(read_json_object(folder / CONFIG))
    for field, supported in _ONLY.items():
        options.only(field, *supported)
    options.without_effect(*_WITHOUT_EFFECT.split())
    rank, alpha = options.whole("r"), options.number("lora_alpha")
    options.finish()
    shapes = _shapes(params)
    published = find_format(network, shapes)
    places = _by_tensor(published, shapes)
    low: dict[str, np.ndarray] = {}
    saved: dict[str, np.ndarray] = {}
    for key, stored in read_safetensors(folder / WEIGHTS).items():
        module, end = key.removeprefix(_START), ""
        for kind in (_A, _B):
            if module.endswith(kind):
                module, end = module.removesuffix(kind) + ".weight", kind
        found = places.get(module) or places.get(published.family.prefix + module)
        if found is None or (end and not found.name.transposed):
            raise ValueError(f"{folder / WEIGHTS}: this network has no tensor for {key}")
        leaf, array = found.name.leaves[0], np.asarray(stored.read(), np.float32)
        array = array.T if found.name.transposed else array
        path, shape = leaf, shapes[leaf]
        if end:
            path = f"{leaf}/{'a' if end == _A else 'b'}"
            inner = (shape[-2], rank) if end == _A else (rank, shape[-1])
            shape = (*shape[:-2], *inner)
        if array.shape != (shape if found.place is ... else shape[1:]):
            raise ValueError(f"{folder / WEIGHTS}: {key} has shape {stored.shape}")
        target = low if end else saved
        target.setdefault(path, np.zeros(shape, np.float32))[found.place] = array
    for path in [path for path in low if path.endswith("/a")]:
        if f"{path.removesuffix('a')}b" not in low:
            raise ValueError(f"{folder / WEIGHTS}: {path} has an A and no B")
    nested = (traverse_util.unflatten_dict(each, sep="/") for each in (low, saved))
    return Adapter(rank, alpha, *nested)


def write_adapter(
    folder: str | Path,
    network: nn.Module,
    params: PyTree,
    adapter: Adapter,
) -> None:
    """Writes the folder that peft loads over the original of a network with these parameters.

    ValueError for updates of a matrix that the original holds together with others.
    """
    folder, shapes = user_path(folder), _shapes(params)
    published = find_format(network, shapes)
    low, saved = (traverse_util.flatten_dict(x, sep="/") for x in (adapter.low, adapter.saved))
    (architecture,) = published.config["architectures"]
    bare = published.family.prefix if architecture.endswith("Model") else ""
    tensors: dict[str, np.ndarray] = {}
    targets, whole = set(), set()
    for tensor, (name, place) in _by_tensor(published, shapes).items():
        module, kind = tensor.removeprefix(bare).rsplit(".", 1)
        updated = [leaf for leaf in name.leaves if f"{leaf}/a" in low]
        if updated and (not name.transposed or len(name.leaves) > 1):
            raise ValueError(f"{updated[0]} is a part of {tensor} there, which peft updates whole")
        for leaf in updated:
            tensors[f"{_START}{module}{_A}"] = np.asarray(low[f"{leaf}/a"][place]).T
            tensors[f"{_START}{module}{_B}"] = np.asarray(low[f"{leaf}/b"][place]).T
            targets.add(re.sub(r"\\\.\d+\\\.", r"\\.\\d+\\.", re.escape(module)))
        if name.leaves[0] in saved:
            array = np.asarray(saved[name.leaves[0]][place])
            tensors[f"{_START}{module}.{kind}"] = array.T if name.transposed else array
            whole.add(module)
    kinds = [kind for end, kind in _TASKS.items() if architecture.endswith(end)]
    config = {
        "peft_type": "LORA",
        "task_type": kinds[0] if kinds else "FEATURE_EXTRACTION",
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": "|".join(sorted(targets)),  # a regular expression of whole names
        "modules_to_save": sorted(whole) or None,
        "inference_mode": True,
    }
    write_safetensors(folder / WEIGHTS, tensors, {"format": "pt"})
    write_whole(folder / CONFIG, json.dumps(config, indent=2).encode())


class _Place(NamedTuple):
    name: Name
    place: Any  # the number of a layer, or all


def _by_tensor(published: Format, shapes: Shapes) -> dict[str, _Place]:
    """The leaves of each tensor, and its place in them."""
    found = {}
    for name in published.names:
        stacked = LAYER in name.tensor
        for number, tensor in enumerate(numbered(name, shapes)):
            found[tensor] = _Place(name, number if stacked else ...)
    return found


def _shapes(params: PyTree) -> Shapes:
    flat = traverse_util.flatten_dict(params["params"], sep="/")
    return {path: leaf.shape for path, leaf in flat.items()}


def heads_of(params: PyTree, is_head: Callable[[str], bool]) -> Mapping[str, Any]:
    """The parameters of heads, as an adapter saves them; paths begin with "params/"."""
    flat = traverse_util.flatten_dict(params["params"], sep="/")
    kept = {path: leaf for path, leaf in flat.items() if is_head(f"params/{path}")}
    return traverse_util.unflatten_dict(kept, sep="/")
