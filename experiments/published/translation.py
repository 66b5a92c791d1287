"""Translations of texts by a published encoder-decoder, as Marian and T5 have them."""

import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.decoding import Beam, Hypotheses, Vocabulary, beam_search
from experiments.harness.task import Response, head_maps
from experiments.published.continuation import Options
from experiments.published.model import Published, pad_rows


def respond(
    model: Published, inputs: Iterable[str], options: Options, *, maps: bool
) -> Iterator[Response]:
    """Each text with its most probable translation, by greedy choice or by a beam.

    A translation is of its text alone, whatever texts are beside it. Maps are of cross-attention.
    """
    vocabulary = _vocabulary(model)
    beam = options.strategy if isinstance(options.strategy, Beam) else Beam(1)
    texts = iter(inputs)
    while batch := list(itertools.islice(texts, options.batch_size)):
        sources = [model.encode(text)[0] for text in batch]
        ids, valid = pad_rows(sources)
        found = _search(
            model.network, beam, vocabulary, options.num_tokens, model.on_device, ids, valid
        )
        for row, text in enumerate(batch):
            tokens = np.asarray(found.tokens[row, 0])[: int(found.lengths[row, 0])].tolist()
            drawn = _maps(model, vocabulary, sources[row], tokens) if maps else {}
            full = len(tokens) == options.num_tokens
            yield Response(
                text,
                model.tokenizer.decode([each for each in tokens if each != vocabulary.eos]),
                {"log_probability": float(found.log_probs[row, 0])},
                drawn,
                [f"{len(tokens)} tokens" + ", the most that --num_tokens allows" * full],
            )


def _vocabulary(model: Published) -> Vocabulary:
    """The special tokens that the config names; ValueError where it does not name one."""
    names = "pad_token_id", "decoder_start_token_id", "eos_token_id"
    found = [model.config.get(name) for name in names]
    for name, each in zip(names, found, strict=True):
        if type(each) is not int or not 0 <= each < model.network.target_vocab:
            raise ValueError(
                f"config field {name} is {each!r}: translating needs the id of a token"
            )
    if found[2] in found[:2]:
        raise ValueError(
            f"config field {names[2]} is {found[2]}, which {names[0]} or {names[1]} is"
        )
    return Vocabulary(*found)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _search(
    network: Any, beam: Beam, vocabulary: Vocabulary, most: int, params: Any, ids: Any, valid: Any
) -> Hypotheses:
    """The best hypothesis of a beam for each source."""
    encoded = network.apply(params, ids, valid, method="encode")
    state = network.apply(params, encoded, most, method="begin")

    def step(state, tokens):
        found = network.apply(params, encoded.memory, state, tokens, method="step")
        return found.logits, found.state, ()

    return beam_search(
        step,
        state,
        jnp.full(ids.shape[0], most, jnp.int32),
        max_length=most,
        beam_size=beam.size,
        vocabulary=vocabulary,
        alpha=beam.alpha,
        offset=beam.offset,
        n_best=1,
    )


def _maps(model, vocabulary, source, tokens):
    """The cross-attention of every head: rows are the tokens that a step predicts."""
    ids, previous = np.int32([source]), np.int32([[vocabulary.bos, *tokens[:-1]]])
    weights = np.asarray(_weights(model.network, model.on_device, ids, previous))
    labels = model.tokenizer.target_labels(tokens), model.tokenizer.labels(source)
    return head_maps(weights[0], *labels)


@functools.partial(jax.jit, static_argnums=0)
def _weights(network: Any, params: Any, ids: Any, previous: Any) -> Any:
    found = network.apply(params, ids, jnp.ones(ids.shape, bool), previous, capture="all")
    return found.weights
