"""The golden arrays of published architectures, as tests/golden/make_pretrained.py wrote them."""

import functools
import json
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.pretrained import Checkpoint, from_checkpoint

FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "pretrained"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.npz")))
# The heads by the name of their logits in the original library.
HEADS = {
    "prediction_logits": "masked_lm",
    "seq_relationship_logits": "next_sentence",
    "sop_logits": "next_sentence",
}


class Golden(NamedTuple):
    """A checkpoint, with the arrays that the original library makes of it."""

    checkpoint: Checkpoint
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    prompts: list[tuple[int, np.ndarray]]  # the length of each, and with its continuation


@functools.cache
def load(name: str) -> Golden:
    """The golden arrays of that name."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}

    def named(start):
        return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}

    about = json.loads(str(arrays["about"]))
    lengths = named("greedy_length.")
    prompts = [(int(lengths[number]), ids) for number, ids in named("greedy.").items()]
    checkpoint = Checkpoint(about["config"], named("tensor."))
    return Golden(checkpoint, named("input."), named("output."), prompts)


@functools.cache
def pretrained(name: str):
    """The network and parameters of a golden checkpoint."""
    return from_checkpoint(load(name).checkpoint)


def outputs(network, params, inputs):
    """The logits by head, layers and weights of a network for the original library's inputs."""
    ids = jnp.asarray(inputs["input_ids"], jnp.int32)
    valid = jnp.asarray(inputs["attention_mask"], bool)
    options = {"positions": jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)}
    if "token_type_ids" in inputs:
        options["types"] = jnp.asarray(inputs["token_type_ids"], jnp.int32)
    run = jax.jit(functools.partial(network.apply, capture="all"))
    return run(params, ids, valid, **options)


def logits_by_name(found, kinds):
    """Our logits by the names that the original library gives them."""
    heads = getattr(found, "heads", None)
    if heads is None:
        return {"logits": found.logits}
    heads = {head: array for head, array in heads.items() if head != "pooler"}
    if set(kinds) & set(HEADS):
        return {kind: heads[HEADS[kind]] for kind in kinds if kind in HEADS}
    (only,) = heads.values()
    return {"logits": only}
