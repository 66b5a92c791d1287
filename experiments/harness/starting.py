"""Parameters that training starts from: those of a run, or of a published checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from flax import traverse_util

from attn_research.data.files import user_path
from attn_research.pretrained import from_checkpoint, read_checkpoint
from attn_research.trees import named_leaves
from attn_research.types import PyTree
from experiments.harness.continuation import ABOUT, read_about
from experiments.harness.paper import Paper
from experiments.harness.program import Program
from experiments.harness.run_folder import check_holds_run, load_run
from experiments.harness.task import contents


def check_start(place: str) -> None:
    """ValueError where --init_from names neither a run nor a published checkpoint."""
    folder = user_path(place)
    if not _is_published(folder):
        check_holds_run(folder, "--init_from")


def check_tokenizer(program: Program) -> None:
    """ValueError where a run of --init_from was trained with another tokenizer than this one.

    Its embeddings would stand for other tokens, of which there may be as many.
    """
    config = program.config
    if config.values().get("tokenizer") == "given":  # that of --init_from, or another by intent
        return
    kept = read_about(user_path(config.train.init_from)).get("data") or {}
    here = contents(program.task)
    for name in ("tokenizer", "tokenizers"):
        if name in kept and name in here and kept[name] != here[name]:
            raise ValueError(
                f"--init_from={config.train.init_from}: its {name} differ from those of this data, "
                "so that its embeddings are of other tokens; train on the same data, or name its "
                "tokenizer where this experiment has --tokenizer=given"
            )


def starting_params(program: Program, find: Callable[[str], Paper]) -> PyTree:
    """The parameters of --init_from, with new ones where the paper says that they are `fresh`.

    The folder is that of a run, or of a published checkpoint, which holds no description of a run
    but weights. ValueError where parameters are missing, unknown or of another shape.
    """
    place, fresh = program.config.train.init_from, program.paper.fresh or (lambda path: False)
    there = named_leaves(program.paper.adapt(program.config, _read(place, find)))
    shapes = named_leaves(program.state_shapes().params)
    fits = {
        path: path in there and path in shapes and there[path].shape == shapes[path].shape
        for path in there | shapes
    }
    if other := sorted(path for path, fit in fits.items() if not fit and not fresh(path)):
        sizes = [getattr(each.get(other[0]), "shape", None) for each in (there, shapes)]
        raise ValueError(
            f"--init_from={place}: its parameters do not fit this network; {other[0]} is "
            f"{sizes[0]} there and {sizes[1]} here"
        )
    new = {}
    if not all(fits[path] for path in shapes):
        new = named_leaves(jax.jit(program.init)(jax.random.key(program.config.train.seed)))
    leaves = {path: there[path] if fits[path] else new[path] for path in shapes}
    return traverse_util.unflatten_dict(leaves, sep="/")


def _read(place: str, find: Callable[[str], Paper]) -> Any:
    folder = user_path(place)
    if _is_published(folder) and not (folder / ABOUT).is_file():
        return from_checkpoint(read_checkpoint(folder)).params
    return load_run(folder, find, flag="--init_from").params


def _is_published(folder: Path) -> bool:
    files = ("config.json", "model.safetensors", "*.gguf")
    return folder.is_file() or any(any(folder.glob(name)) for name in files)
