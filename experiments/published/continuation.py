"""Continuations of prompts by a published decoder, as they come or whole."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp

from attn_research.decoding import GREEDY, Beam, Continuation, Sampling, generate, stream
from attn_research.layers.contracts import Capture
from attn_research.layers.decoders import Decoder, StreamingDecoder
from attn_research.layers.row_products import Weights, store_by_output
from attn_research.types import PyTree
from experiments.harness.task import Response
from experiments.published.model import Published

Show = Callable[[str], None]
_UNFINISHED = "\ufffd"  # stands for the first bytes of a character


@dataclasses.dataclass(frozen=True)
class Options:
    """How prompts are continued."""

    num_tokens: int = 64
    strategy: Sampling | Beam = GREEDY
    stop: tuple[str, ...] = ()
    seed: int = 0
    weights: Weights = "float32"
    batch_size: int = 1
    window: int = 0  # of streaming; 0: attention to all tokens before
    sinks: int = 4

    def __post_init__(self):
        if "" in self.stop:
            raise ValueError("--stop: an empty string is met at once; give some characters")


def place(model: Published, weights: Weights) -> PyTree:
    """Parameters for decoding: stored by output on a CPU, or in int8."""
    if weights == "int8" or jax.default_backend() == "cpu":
        return store_by_output(model.params, weights)
    return jax.tree.map(jnp.asarray, model.params)


def respond(
    model: Published,
    inputs: Iterable[str],
    options: Options,
    *,
    capture: Capture = None,
    show: Show | None = None,
) -> Iterator[Response]:
    """Each prompt with its continuation; what is drawn for one depends on its number and the seed.

    `show` is called with the text as it grows, if there is no beam.
    """
    params = place(model, options.weights)
    decoder, chunk, numbered = Decoder((model.network,)), None, enumerate(inputs)
    if options.window:
        decoder = StreamingDecoder.of(model.network, options.window, options.sinks)
        chunk = decoder.chunk
    together = 1 if show or options.window else options.batch_size
    while batch := list(itertools.islice(numbered, together)):
        prompts = [_encode(model, number, text) for number, text in batch]
        key = jax.random.key(options.seed)
        keys = jnp.stack([jax.random.fold_in(key, number) for number, _ in batch])
        texts = _Texts(model, options.stop)
        arguments = dict(
            num_tokens=options.num_tokens,
            strategy=options.strategy,
            keys=keys,
            end=model.tokenizer.end,
            stop=texts.is_over if options.stop else None,
            chunk=chunk,
        )
        if show is None or isinstance(options.strategy, Beam):
            found = generate(decoder, (params,), prompts, **arguments)
        else:
            show(batch[0][1])
            news = stream(decoder, (params,), prompts, every=1, **arguments)
            found = [texts.show(news, show)]
        for (_, text), prompt, each in zip(batch, prompts, found, strict=True):
            yield _response(model, texts, text, prompt, each, capture)


def _encode(model: Published, number: int, text: str) -> list[int]:
    ids, _ = model.encode(text) if text else ([], [])
    if not ids:
        raise ValueError(f"prompt {number + 1} is empty: a continuation needs some text before it")
    return ids


@dataclasses.dataclass(frozen=True)
class _Texts:
    """The texts of tokens, up to a stop string."""

    model: Published
    stops: tuple[str, ...]

    def read(self, tokens: Sequence[int]) -> str:
        """The text of a continuation before its first stop string."""
        text = self.model.tokenizer.decode(tokens)
        return text[: min((text.find(stop) for stop in self.stops if stop in text), default=None)]

    def is_over(self, index: int, tokens: Sequence[int]) -> bool:
        """Whether a stop string is there."""
        text = self.model.tokenizer.decode(tokens)
        return any(stop in text for stop in self.stops)

    def show(self, news: Iterable[list[Continuation]], show: Show) -> Continuation:
        """The continuation of the only prompt; what is sure of its text is shown as it comes."""
        found, shown = Continuation((), None), 0
        for (new,) in news:
            found = Continuation(found.tokens + new.tokens, new.reason)
            text = self.read(found.tokens)
            upto = len(text) if found.reason else self._settled(text)
            if upto > shown:
                show(text[shown:upto])
                shown = upto
        return found

    def _settled(self, text: str) -> int:
        """How much of a text no later token changes, neither its characters nor a stop string."""
        text = text.rstrip(_UNFINISHED)
        starts = (stop[:size] for stop in self.stops for size in range(1, len(stop)))
        return len(text) - max((len(s) for s in starts if text.endswith(s)), default=0)


def _response(model, texts, text, prompt, found, capture):
    notes = [f"{len(found.tokens)} tokens, over by {_REASONS[found.reason]}"]
    if texts.stops and found.reason != "stop":
        met = "none of the stop strings was met" if len(texts.stops) > 1 else "--stop was not met"
        notes.append(met)
    scores = {} if found.log_prob is None else {"log_probability": found.log_prob}
    whole, drawn = [*prompt, *found.tokens], {}
    if capture is not None:
        drawn = model.maps(whole, model.read(whole, capture=capture).weights, capture)
    return Response(text, text + texts.read(found.tokens), scores, drawn, notes)


_REASONS = {"end": "the end of the text", "stop": "--stop", "length": "--num_tokens"}
