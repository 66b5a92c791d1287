"""Translations of texts by a published encoder-decoder, as Marian and T5 have them."""

import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.decoding import Beam, Hypotheses, Vocabulary, beam_search
from attn_research.viewing.views import pair_views
from experiments.harness.task import Looked, Response, head_maps
from experiments.published.continuation import Options
from experiments.published.model import Published, pad_rows


def respond(
    model: Published, inputs: Iterable[str], options: Options, *, maps: bool
) -> Iterator[Response]:
    """Each text with its most probable translation, by greedy choice or by a beam.

    A translation is of its text alone, whatever texts are beside it. Maps are of cross-attention.
    """
    for response, *ids in _translate(model, inputs, options):
        if maps:
            labels = reversed(_labels(model, *ids))
            response = response._replace(maps=head_maps(_weights(model, *ids)["cross"], *labels))
        yield response


def look(model: Published, text: str, options: Options) -> Looked:
    """All attention over a text and its translation."""
    ((response, *ids),) = _translate(model, [text], options)
    views = pair_views(_labels(model, *ids), _weights(model, *ids))
    return Looked(response, [*views.values()])


def _translate(
    model: Published, inputs: Iterable[str], options: Options
) -> Iterator[tuple[Response, list[int], list[int]]]:
    """The responses without maps, and the ids of source and target."""
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
            full = len(tokens) == options.num_tokens
            response = Response(
                text,
                model.tokenizer.decode([each for each in tokens if each != vocabulary.eos]),
                {"log_probability": float(found.log_probs[row, 0])},
                {},
                [f"{len(tokens)} tokens" + ", the most that --num_tokens allows" * full],
            )
            yield response, sources[row], tokens


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


def _labels(model, source, tokens):
    return model.tokenizer.labels(source), model.tokenizer.target_labels(tokens)


def _weights(model, source, tokens) -> dict[str, np.ndarray]:
    """The weights [L, N, T, S] of encoder and decoder: rows are the tokens that a step predicts."""
    ids, previous = np.int32([source]), np.int32([[_vocabulary(model).bos, *tokens[:-1]]])
    found = _capture(model.network, model.on_device, ids, previous)
    return {name: np.asarray(each[0]) for name, each in found.items()}


@functools.partial(jax.jit, static_argnums=0)
def _capture(network: Any, params: Any, ids: Any, previous: Any) -> dict[str, Any]:
    valid = jnp.ones(ids.shape, bool)
    encoded = network.apply(params, ids, valid, capture="all", method="encode")
    hidden = network.apply(params, encoded, previous, capture="all", method="decode_states")
    return {"encoder": encoded.weights, "cross": hidden.weights, "decoder": hidden.self_weights}
