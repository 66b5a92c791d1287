"""Networks run with the inputs of the original library, and their outputs by its names."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention import GlobalTokens, Mask
from attn_research.layers.longformer import LongformerAttention, with_global_tokens
from attn_research.models.bert import Bert
from attn_research.models.clip import Clip
from attn_research.models.gpt import GPT
from attn_research.models.transformer import Transformer
from attn_research.models.vit import ViT
from attn_research.pretrained.families import Pretrained

IDS, VALID, TARGETS = "input_ids", "attention_mask", "decoder_input_ids"
TYPES, POSITIONS = "token_type_ids", "position_ids"
GLOBAL = "global_attention_mask"
IMAGES, SOUNDS = "pixel_values", "input_features"
LAYERS, WEIGHTS = "hidden_states", "attentions"
# Our heads by the names of their logits.
_HEADS = {
    "prediction_logits": "masked_lm",
    "seq_relationship_logits": "next_sentence",
    "sop_logits": "next_sentence",
}

Arrays = Mapping[str, np.ndarray]


def run_network(pretrained: Pretrained, inputs: Arrays) -> dict[str, np.ndarray]:
    """The outputs of a network for the original library's inputs, by the names it gives them.

    Of IDS, VALID, TYPES, POSITIONS, GLOBAL, TARGETS, IMAGES and SOUNDS a network takes those that
    it has a use for; positions count every place of a row, as they do there. `hidden_states` [B, L
    + 1, T, D] are the embeddings and the states after each block, `attentions` [B, L, N, T, T] the
    weights.
    ValueError for an input of another name or shape, and for ids that the network does not have.
    """
    network, _ = pretrained
    if type(network) not in _RUNNERS:
        raise ValueError(f"{type(network).__name__} is not run by the original's names")
    needed, others, run = _RUNNERS[type(network)]
    if isinstance(network, Transformer) and network.stem is not None:
        needed, others = (SOUNDS, TARGETS), ()
    known = *needed, *others
    if unknown := sorted(set(inputs) - set(known)):
        raise ValueError(f"no input is called {unknown[0]}: they are {', '.join(known)}")
    if missing := [name for name in needed if name not in inputs]:
        raise ValueError(f"the arrays have no {missing[0]}")
    return {name: np.asarray(array) for name, array in run(pretrained, inputs).items()}


def real_places(inputs: Arrays, output: str) -> np.ndarray | None:
    """Which places of an output's rows [B, T] are real, or None where all are."""
    decoders = TARGETS in inputs and not output.startswith("encoder_")
    if decoders or VALID not in inputs:
        return None
    return np.asarray(inputs[VALID], bool)


def _apply(pretrained: Pretrained, *inputs: Any, **options):
    network, params = pretrained
    static = {name: options.pop(name) for name in ("capture", "method") if name in options}
    return jax.jit(functools.partial(network.apply, **static))(params, *inputs, **options)


def _run_text(pretrained: Pretrained, inputs: Arrays) -> dict[str, jax.Array]:
    network, _ = pretrained
    ids, valid, options = _text(inputs, network.vocab_size)
    decoder = isinstance(network, GPT)
    if TYPES in inputs:
        if decoder:
            raise ValueError("token_type_ids: this model has no token types")
        options["types"] = _whole(inputs, TYPES, network.num_types)
    if GLOBAL in inputs:
        chosen = np.asarray(_whole(inputs, GLOBAL, 2) > 0) & np.asarray(valid)
        pretrained, options["mask"] = _with_global(pretrained, chosen)
    method = "read" if decoder else None
    found = _apply(pretrained, ids, valid, capture="all", method=method, **options)
    outputs = {"last_hidden_state": found.states, LAYERS: found.layers, WEIGHTS: found.weights}
    if decoder:
        # There the last states of a pre-norm decoder are normalized.
        outputs[LAYERS] = found.layers.at[:, -1].set(found.states)
        outputs["logits"] = _apply(pretrained, found.states, method="logits")
        return outputs
    heads = dict(found.heads)
    if "pooler" in heads:
        outputs["pooler_output"] = heads.pop("pooler")
    outputs |= {name: heads[head] for name, head in _HEADS.items() if head in heads}
    if len(heads) == 1:
        outputs["logits"] = next(iter(heads.values()))
    return outputs


def _with_global(pretrained: Pretrained, chosen: np.ndarray) -> tuple[Pretrained, Mask]:
    """The network with room for the global tokens [B, T], and its mask with them."""
    network, params = pretrained
    if getattr(network, "attention", None) is not LongformerAttention:
        raise ValueError(f"{GLOBAL}: this model has no projections of global tokens")
    most = max(1, int(chosen.sum(axis=-1).max()))
    room = network.clone(attention=functools.partial(LongformerAttention, max_global=most))
    tokens = GlobalTokens(jnp.asarray(chosen), jnp.asarray(chosen))
    return Pretrained(room, params), with_global_tokens(network.mask, tokens)


def _run_images(pretrained: Pretrained, inputs: Arrays) -> dict[str, jax.Array]:
    images = _images(inputs)
    found = _apply(pretrained, images, capture="all", method="read")
    pooled = _apply(pretrained, images).logits
    return {
        "logits" if pretrained.network.num_classes else "pooler_output": pooled,
        "last_hidden_state": found.states,
        LAYERS: found.layers,
        WEIGHTS: found.weights,
    }


def _run_pairs(pretrained: Pretrained, inputs: Arrays) -> dict[str, jax.Array]:
    ids, valid, options = _text(inputs, pretrained.network.text.vocab_size)
    found = _apply(pretrained, ids, valid, _images(inputs), **options)
    return {
        "logits_per_image": found.logits,
        "logits_per_text": found.logits.T,
        "image_embeds": found.images,
        "text_embeds": found.texts,
    }


def _run_targets(pretrained: Pretrained, inputs: Arrays) -> dict[str, jax.Array]:
    network, _ = pretrained
    if network.stem is None:
        source, valid, _ = _text(inputs, network.source_vocab)
    else:
        sounds = inputs[SOUNDS]
        if sounds.ndim != 3 or sounds.shape[1] != network.source_vocab:
            wanted = f"[B, {network.source_vocab}, F]"
            raise ValueError(f"{SOUNDS} has shape {sounds.shape}, not {wanted}")
        source = jnp.asarray(np.moveaxis(sounds, 1, 2), jnp.float32)
        valid = jnp.ones(source.shape[:2], bool)
    targets = _whole(inputs, TARGETS, network.target_vocab)
    encoded = _apply(pretrained, source, valid, capture="all", method="encode")
    hidden = _apply(pretrained, encoded, targets, capture="all", method="decode_states")
    return {
        "logits": _apply(pretrained, hidden.states, method="logits"),
        "encoder_last_hidden_state": encoded.memory.states,
        "encoder_attentions": encoded.weights,
        "decoder_attentions": hidden.self_weights,
        "cross_attentions": hidden.weights,
    }


# What runs a network, by its kind: the inputs that it needs, and others that it takes.
_RUNNERS: dict[type, tuple[tuple[str, ...], tuple[str, ...], Callable]] = {
    Bert: ((IDS,), (VALID, TYPES, POSITIONS, GLOBAL), _run_text),
    GPT: ((IDS,), (VALID, TYPES, POSITIONS), _run_text),
    ViT: ((IMAGES,), (), _run_images),
    Clip: ((IDS, IMAGES), (VALID, POSITIONS), _run_pairs),
    Transformer: ((IDS, TARGETS), (VALID,), _run_targets),
}


def _text(inputs: Arrays, vocab_size: int) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
    """Ids, which of them are real, and their positions."""
    ids = _whole(inputs, IDS, vocab_size)
    valid = jnp.asarray(inputs.get(VALID, np.ones(ids.shape)), bool)
    positions = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    if POSITIONS in inputs:
        positions = jnp.asarray(inputs[POSITIONS], jnp.int32)
    return ids, valid, {"positions": positions}


def _images(inputs: Arrays) -> jax.Array:
    """Images with channels last."""
    images = inputs[IMAGES]
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"{IMAGES} has shape {images.shape}, not [B, 3, H, W]")
    return jnp.asarray(np.moveaxis(images, 1, 3), jnp.float32)


def _whole(inputs: Arrays, name: str, count: int) -> jax.Array:
    """Whole numbers [B, T] below `count`."""
    array = inputs[name]
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer) or not array.size:
        raise ValueError(f"{name} is {array.dtype} {array.shape}: give integers [B, T]")
    if array.min() < 0 or array.max() >= count:
        wrong = int(array.max() if array.max() >= count else array.min())
        raise ValueError(f"{name} holds {wrong}, and the model has {count}: 0 to {count - 1}")
    return jnp.asarray(array, jnp.int32)
