"""Parity of a network with the original library: arrays under its names, and where they depart."""

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.models.gpt import GPT
from attn_research.pretrained.families import Pretrained

# A value v may differ by ABSOLUTE + RELATIVE |v|.
ABSOLUTE = RELATIVE = 1e-4
INPUTS = "input_ids", "attention_mask", "token_type_ids", "position_ids"
LAYERS, WEIGHTS = "hidden_states", "attentions"
# Our heads by the names of their logits.
_HEADS = {
    "prediction_logits": "masked_lm",
    "seq_relationship_logits": "next_sentence",
    "sop_logits": "next_sentence",
}

Arrays = Mapping[str, np.ndarray]


class Difference(NamedTuple):
    """The largest difference of an array, where it is, and whether it is within the bounds."""

    name: str
    largest: float
    place: tuple[int, ...]
    holds: bool


def run_network(pretrained: Pretrained, inputs: Arrays) -> dict[str, np.ndarray]:
    """The outputs of a network for the original library's inputs, by the names it gives them.

    Inputs are INPUTS, of which the first is needed; positions count every place of a row, as they
    do there. `hidden_states` [B, L + 1, T, D] are the embeddings and the states after each block,
    `attentions` [B, L, N, T, T] the weights. ValueError for an input of another name, and for
    tokens or types that the network does not have.
    """
    network, params = pretrained
    if unknown := sorted(set(inputs) - set(INPUTS)):
        raise ValueError(f"no input is called {unknown[0]}: they are {', '.join(INPUTS)}")
    if "input_ids" not in inputs:
        raise ValueError("the arrays have no input_ids")
    ids = _whole(inputs, "input_ids", network.vocab_size)
    options = {"positions": jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)}
    if "position_ids" in inputs:
        options["positions"] = jnp.asarray(inputs["position_ids"], jnp.int32)
    decoder = isinstance(network, GPT)
    if "token_type_ids" in inputs:
        if decoder:
            raise ValueError("token_type_ids: this model has no token types")
        options["types"] = _whole(inputs, "token_type_ids", network.num_types)
    valid = jnp.asarray(inputs.get("attention_mask", np.ones(ids.shape)), bool)
    method = "read" if decoder else None
    run = jax.jit(functools.partial(network.apply, capture="all", method=method))
    found = run(params, ids, valid, **options)
    outputs = {"last_hidden_state": found.states, LAYERS: found.layers, WEIGHTS: found.weights}
    if decoder:
        # There the last states of a pre-norm decoder are normalized.
        outputs[LAYERS] = found.layers.at[:, -1].set(found.states)
        outputs["logits"] = jax.jit(functools.partial(network.apply, method="logits"))(
            params, found.states
        )
    else:
        heads = dict(found.heads)
        if "pooler" in heads:
            outputs["pooler_output"] = heads.pop("pooler")
        outputs |= {name: heads[head] for name, head in _HEADS.items() if head in heads}
        if len(heads) == 1:
            outputs["logits"] = next(iter(heads.values()))
    return {name: np.asarray(array) for name, array in outputs.items()}


def differences(found: Arrays, expected: Arrays, valid: np.ndarray) -> Iterator[Difference]:
    """The largest difference of each expected array, at real tokens alone.

    `hidden_states.N` and `attentions.N` name those of one block, counted from 0. ValueError for an
    array that the network does not have, or of another shape.
    """
    for name, wanted in expected.items():
        array = _named(found, name)
        if array.shape != wanted.shape:
            raise ValueError(f"{name} has shape {wanted.shape}, and this model's {array.shape}")
        yield _difference(name, array, wanted, valid)


def first_departure(found: Arrays, expected: Arrays, valid: np.ndarray) -> str | None:
    """The first part of the network that departs from the original, and likely causes of it.

    None where nothing does, or no states or weights of layers are given.
    """
    layers, weights = expected.get(LAYERS), expected.get(WEIGHTS)
    if layers is None and weights is None:
        return None

    def departs(kind: str, number: int) -> bool:
        if kind not in expected or number >= expected[kind].shape[1]:
            return False
        pair = (arrays[kind][:, number] for arrays in (found, expected))
        return not _difference(kind, *pair, valid).holds

    if departs(LAYERS, 0):
        return (
            "the embeddings: a tokenizer that is not this vocabulary's, positions that padding "
            "takes or does not, token types, or the norm after them"
        )
    for block in range(found[WEIGHTS].shape[1]):
        if departs(WEIGHTS, block):
            return (
                f"the attention weights of block {block}: the mask, the scale of the scores, the "
                "order of heads, or rotary positions"
            )
        if departs(LAYERS, block + 1):
            return (
                f"the states after block {block}: values and output of attention, the activation, "
                "the place or epsilon of a norm"
            )
    return None


def _named(found: Arrays, name: str) -> np.ndarray:
    kind, _, number = name.partition(".")
    if kind not in found:
        raise ValueError(f"this model has no output {name}: it has {', '.join(found)}")
    if not number:
        return found[kind]
    count = found[kind].shape[1]
    if kind not in (LAYERS, WEIGHTS) or not number.isdecimal() or int(number) >= count:
        raise ValueError(f"no output {name}: {kind} has numbers from 0 to {count - 1}")
    return found[kind][:, int(number)]


def _difference(name: str, array: np.ndarray, wanted: np.ndarray, valid: np.ndarray) -> Difference:
    """The largest difference, of rows that are real: the axis of the length of `valid` after B."""
    axis = array.ndim - 2  # [B, ..., T, D] and [B, ..., T, S]
    real = np.ones((1,) * array.ndim, bool)
    if array.ndim > 2:
        shape = [1] * array.ndim
        shape[0], shape[axis] = valid.shape
        real = valid.reshape(shape)
    excess = np.abs(array - wanted.astype(np.float64)) * real
    place = np.unravel_index(np.argmax(excess), excess.shape)
    holds = bool((excess <= ABSOLUTE + RELATIVE * np.abs(wanted)).all())
    return Difference(name, float(excess.max()), tuple(map(int, place)), holds)


def _whole(inputs: Arrays, name: str, count: int) -> jax.Array:
    """Whole numbers [B, T] below `count`."""
    array = inputs[name]
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer) or not array.size:
        raise ValueError(f"{name} is {array.dtype} {array.shape}: give integers [B, T]")
    if array.min() < 0 or array.max() >= count:
        wrong = int(array.max() if array.max() >= count else array.min())
        raise ValueError(f"{name} holds {wrong}, and the model has {count}: 0 to {count - 1}")
    return jnp.asarray(array, jnp.int32)
