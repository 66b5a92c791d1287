"""Transcripts of sounds by a published Whisper, with times, and where its words attend.

Radford et al. 2022, section 2.3: English models, one window of at most 30 seconds. Models were
trained on sounds with silence up to the end of the window, and repeat themselves where they hear
less: of a second of silence tiny.en makes the same transcript for 2 of 61 sounds alone. `silence`
of some seconds is quicker, for the encoder reads no more, and at the user's own risk.
"""

import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.data.audio.files import RATE, read_audio
from attn_research.data.audio.mel import FRAME_SECONDS, HOP, log_mel
from attn_research.data.files import user_path
from attn_research.decoding import Beam, Hypotheses, Vocabulary, beam_search
from attn_research.decoding.timestamps import TimeRules, TimeState, follow, segments
from attn_research.evaluation.alignment import words_from_pieces
from attn_research.layers.row_products import row_products
from attn_research.types import Bool, Float
from experiments.harness.task import AttentionMap, Response, head_maps
from experiments.published.continuation import Options
from experiments.published.model import Published

MOST_TOKENS = 224  # of a transcript: half of the positions
_BUCKET = 100  # frames between two lengths that sounds are padded to, each a program
_STRIDE = 2  # frames of a state of the encoder, and of a step of time
_STEP = _STRIDE * FRAME_SECONDS  # seconds
_START, _NO_TIMES, _FIRST_TIME = "<|startoftranscript|>", "<|notimestamps|>", "<|0.00|>"
_ENGLISH = 51_864  # ids of English models


class Special(NamedTuple):
    """The ids before a transcript, of its end, and those that are never said, or not first.

    `times` are the rules of a transcript with times.
    """

    prompt: tuple[int, ...]
    end: int
    never: tuple[int, ...]
    not_first: tuple[int, ...]
    times: TimeRules | None = None

    def is_time(self, token: int) -> bool:
        """Whether a token is a time."""
        return self.times is not None and token >= self.times.first


class Sound(NamedTuple):
    """The features of a batch of one, which of them are real, and the number of the sound's own."""

    features: Float[np.ndarray, "1 F M"]
    valid: Bool[np.ndarray, "1 F"]
    frames: int


def respond(
    model: Published,
    inputs: Iterable[str],
    options: Options,
    *,
    maps: bool,
    silence: float | None = None,
    timestamps: bool = False,
    by_head: bool = False,
) -> Iterator[Response]:
    """The transcript of each file, by greedy choice or by a beam.

    A sound is followed by `silence` seconds, up to the end of the window where None. With
    `timestamps` a transcript is a line for each segment, with its times. Maps are of words over
    time: the mean of the published alignment heads, or every head of every token with `by_head`.
    ValueError for more tokens than the model has positions.
    """
    special = special_ids(model, timestamps=timestamps)
    if (most := options.num_tokens + len(special.prompt)) > model.longest:
        raise ValueError(
            f"--num_tokens={options.num_tokens}: with {len(special.prompt)} before them {most}, "
            f"and the model has {model.longest} positions"
        )
    beam = options.strategy if isinstance(options.strategy, Beam) else Beam(1)
    for name in inputs:
        sound = hear(model, read_audio(user_path(name)), name, silence=silence)
        found = search(
            model.network, beam, special, options.num_tokens, model.on_device, *sound[:2]
        )
        tokens = np.asarray(found.tokens[0, 0])[: int(found.lengths[0, 0])].tolist()
        said = [token for token in tokens if token != special.end]
        drawn = _maps(model, special, sound, said, by_head) if maps and said else {}
        full = len(tokens) == options.num_tokens  # where a search ends, whatever was to come
        yield Response(
            str(name),
            _written(model, special, said),
            {"log_probability": float(found.log_probs[0, 0])},
            drawn,
            [f"{len(tokens)} tokens" + ", the most that --num_tokens allows" * full],
        )


def _written(model: Published, special: Special, said: list[int]) -> str:
    """A transcript, of segments on lines of their own where it has times."""
    if special.times is None:
        return model.tokenizer.decode(said).strip()
    lines = []
    for start, end, words in segments(special.times, said):
        times = ("" if step is None else f"{step * _STEP:.2f}" for step in (start, end))
        lines.append(f"[{' --> '.join(times)}] {model.tokenizer.decode(words).strip()}")
    return "\n".join(lines)


def special_ids(model: Published, *, timestamps: bool = False) -> Special:
    """The special ids of a model; ValueError where its tokenizer lacks one, or is not English."""
    tokenizer, network = model.tokenizer.tokenizer, model.network
    start, no_times, first = map(tokenizer.token_to_id, (_START, _NO_TIMES, _FIRST_TIME))
    if network.target_vocab > _ENGLISH:
        raise ValueError(
            f"a Whisper of {network.target_vocab} ids is multilingual: English models, of "
            f"{_ENGLISH}, transcribe here"
        )
    if None in (start, no_times) or not model.tokenizer.end:
        raise ValueError(f"its tokenizer lacks {_START}, {_NO_TIMES} or the end of a text")
    # Not every tokenizer names its times, which have the ids after that of no times.
    first, end = no_times + 1 if first is None else first, model.tokenizer.end[0]
    times = TimeRules(first, end, no_times) if timestamps else None
    prompt = (start,) if timestamps else (start, no_times)
    config = model.config

    def ids(*names: str) -> tuple[int, ...]:
        found = next((config[name] for name in names if config.get(name)), [])
        return tuple(int(each) for each in found)

    never = ids("suppress_ids", "suppress_tokens")
    not_first = ids("suppress_ids_begin", "begin_suppress_tokens")
    return Special(prompt, end, never, not_first, times)


def hear(
    model: Published,
    samples: Float[np.ndarray, "T"],
    name: str,
    *,
    silence: float | None = None,
) -> Sound:
    """The features of a sound; ValueError where it is longer than the window of the model."""
    window = _STRIDE * model.network.stem.max_length
    frames = -(-len(samples) // HOP)
    if frames > window:
        raise ValueError(
            f"{name} lasts {len(samples) / RATE:.1f} seconds, and the model hears "
            f"{window * FRAME_SECONDS:.0f} at once: cut it into pieces"
        )
    more = window if silence is None else round(silence / FRAME_SECONDS)
    count = min(window, frames + more)
    padded = np.pad(samples, (0, count * HOP - len(samples)))
    features = log_mel(padded, model.network.source_vocab)
    size = min(window, -(-count // _BUCKET) * _BUCKET)
    features = np.pad(features, [(0, size - count), (0, 0)])
    return Sound(features[None], np.arange(size)[None] < count, frames)


class _Said(NamedTuple):
    """The state of the network, and of the times that were said."""

    state: Any
    times: TimeState


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def search(
    network: Any, beam: Beam, special: Special, most: int, params: Any, features: Any, valid: Any
) -> Hypotheses:
    """The best hypothesis of a beam for each sound, of at most `most` tokens with the end."""
    rows, *begun = len(features), *special.prompt
    encoded = network.apply(params, features, valid, method="encode")
    state = network.apply(params, encoded, most + len(begun), method="begin")
    if begun[:-1]:
        before = jnp.broadcast_to(jnp.array(begun[:-1], jnp.int32), (rows, 1, len(begun) - 1))
        state = network.apply(params, encoded.memory, state, before, method="extend")[1]
    ids = jnp.arange(network.target_vocab).reshape(1, 1, -1)
    never, not_first = (
        jnp.isin(ids, jnp.array(some, jnp.int32)) for some in (special.never, special.not_first)
    )

    def step(said: _Said, tokens: jax.Array) -> tuple[jax.Array, _Said, tuple]:
        with row_products():
            found = network.apply(params, encoded.memory, said.state, tokens, method="step")
        # What is not said takes no part of the probability either.
        first = (said.times.count == 0)[..., None]
        logits = jnp.where(never | (first & not_first), -jnp.inf, found.logits)
        if special.times is None:
            times = said.times._replace(count=said.times.count + 1)
        else:
            logits, times = follow(special.times, said.times, tokens, logits)
        return logits, _Said(found.state, times), ()

    bos = special.prompt[-1]
    return beam_search(
        step,
        _Said(state, TimeState.empty((rows, 1))),
        jnp.full(rows, most, jnp.int32),
        max_length=most,
        beam_size=beam.size,
        vocabulary=Vocabulary(bos, bos, special.end),
        alpha=beam.alpha,
        offset=beam.offset,
        n_best=1,
    )


def _maps(
    model: Published, special: Special, sound: Sound, said: list[int], by_head: bool
) -> dict[str, AttentionMap]:
    """The cross-attention of what was said, by the states of the sound itself."""
    begun = len(special.prompt)
    previous = np.array([[*special.prompt, *said[:-1]]], np.int32)
    weights = _weights(model.network, model.on_device, *sound[:2], previous)
    steps = -(-sound.frames // _STRIDE)
    found = np.asarray(weights)[0, :, :, begun - 1 :, :steps]
    of_sound = {
        "features": sound.features[0, : sound.frames],
        "seconds": sound.frames * FRAME_SECONDS,
    }
    columns = [f"{number * _STEP:.2f}" for number in range(steps)]
    labels = model.tokenizer.labels(said)
    if by_head:
        maps = head_maps(found, labels, columns)
        return {name: each._replace(**of_sound) for name, each in maps.items()}
    heads = model.config.get("alignment_heads") or [
        (layer, head) for layer in range(found.shape[0]) for head in range(found.shape[1])
    ]
    mean = np.mean([found[layer, head] for layer, head in heads], axis=0)
    spoken = [row for row, token in enumerate(said) if not special.is_time(token)]
    groups, words = group_words([model.tokenizer.decode([said[row]]) for row in spoken])
    rows = words_from_pieces(mean[spoken], range(steps), groups)
    return {"attention": AttentionMap(rows, words, columns, **of_sound)}


def group_words(pieces: list[str]) -> tuple[list[int], list[str]]:
    """The number of each piece's word, and the words: one begins with a space."""
    groups: list[int] = []
    words: list[str] = []
    for piece in pieces:
        if piece.startswith(" ") or not words:
            words.append("")
        words[-1] += piece.strip()
        groups.append(len(words) - 1)
    return groups, words


@functools.partial(jax.jit, static_argnums=0)
def _weights(network: Any, params: Any, features: Any, valid: Any, previous: Any) -> Any:
    return network.apply(params, features, valid, previous, capture="all").weights
