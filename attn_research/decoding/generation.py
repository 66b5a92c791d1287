"""Continuations of prompts: greedy search, sampling and beam search, as one program a bucket.

A program reads prompts of any lengths chunk by chunk into a key-value cache, and then extends them
token by token. What is generated for a prompt depends on its own tokens and its own key: not on the
other prompts, on padding, or on the size of a chunk.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.decoding.buckets import find_bucket, pad_prompts
from attn_research.decoding.programs import Beam, Decoder, Plan, advance, search, start
from attn_research.decoding.sampling import GREEDY, Sampling
from attn_research.types import Array, Key, PyTree

Prompt = Sequence[int]
Reason = Literal["end", "stop", "length"]
# Whether the continuation of a prompt, by its index, is over after some tokens.
Stop = Callable[[int, Sequence[int]], bool]


class Continuation(NamedTuple):
    """The tokens after a prompt, or the next of them, and why there are no more.

    "end": an end symbol would be next; "stop": the caller's condition holds; "length": there are as
    many as were asked for. `log_prob` is that of the tokens and the end, where there is a beam.
    """

    tokens: tuple[int, ...]
    reason: Reason | None
    log_prob: float | None = None


def generate(
    decoder: Decoder,
    params: PyTree,
    prompts: Sequence[Prompt],
    *,
    num_tokens: int,
    strategy: Sampling | Beam = GREEDY,
    keys: Key[Array, "B"] | None = None,
    end: Sequence[int] = (),
    stop: Stop | None = None,
    chunk: int | None = None,
) -> list[Continuation]:
    """The continuation of each prompt by at most `num_tokens` tokens.

    `keys` are those of the prompts, which sampling at a temperature needs. `end` are end symbols.
    `stop(index, tokens)` tells whether the continuation of a prompt is over after these tokens, and
    depends on nothing else; of a beam it cuts the best. Prompts are read in chunks of `chunk`
    tokens. ValueError for an empty prompt, and for a text that the positions have no room for.
    """
    if isinstance(strategy, Beam):
        return _search(decoder, params, prompts, num_tokens, strategy, end, stop, chunk)
    found = [Continuation((), None)] * len(prompts)
    news = stream(
        decoder,
        params,
        prompts,
        num_tokens=num_tokens,
        strategy=strategy,
        keys=keys,
        end=end,
        stop=stop,
        chunk=chunk,
    )
    for each in news:
        found = list(map(_extended, found, each))
    return found


def stream(
    decoder: Decoder,
    params: PyTree,
    prompts: Sequence[Prompt],
    *,
    num_tokens: int,
    strategy: Sampling = GREEDY,
    keys: Key[Array, "B"] | None = None,
    end: Sequence[int] = (),
    stop: Stop | None = None,
    chunk: int | None = None,
    every: int | None = None,
) -> Iterator[list[Continuation]]:
    """What each continuation of `generate` grows by, for every `every` tokens.

    None is all at once, or 16 tokens where there is a `stop` to ask.
    """
    every = every or (num_tokens if stop is None else 16)
    plan, padded = _plan(decoder, params, prompts, num_tokens, strategy, end, chunk)
    if keys is None:
        if strategy.temperature:
            raise ValueError("sampling at a temperature draws by keys: give one for each prompt")
        keys = jax.random.split(jax.random.key(0), len(prompts))
    elif len(keys) != len(prompts):
        raise ValueError(f"{len(keys)} keys for {len(prompts)} prompts: give one for each")
    keys = keys[jnp.minimum(jnp.arange(plan.bucket.rows), len(prompts) - 1)]
    texts = [Continuation((), None)] * len(prompts)
    progress = start(plan, params, padded.last)
    for number in range(0, num_tokens, every):
        upto = min(number + every, num_tokens)
        over = np.ones(plan.bucket.rows, bool)
        over[: len(texts)] = [text.reason is not None for text in texts]
        progress = advance(plan, params, progress, padded, keys, over, upto)
        padded = padded._replace(num_chunks=0)
        drawn = np.asarray(progress.tokens)[: len(texts), number:upto].tolist()
        reader = _Reader(frozenset(end), stop, num_tokens)
        pairs = enumerate(zip(texts, drawn, strict=True))
        news = [reader.read(row, text, new) for row, (text, new) in pairs]
        texts = list(map(_extended, texts, news))
        yield news
        if all(text.reason for text in texts):
            return


def _extended(text: Continuation, new: Continuation) -> Continuation:
    return Continuation(text.tokens + new.tokens, text.reason or new.reason)


@dataclasses.dataclass(frozen=True)
class _Reader:
    """The end of a continuation, by its tokens alone."""

    end: frozenset[int]
    stop: Stop | None
    num_tokens: int

    def read(self, row: int, text: Continuation, drawn: Sequence[int]) -> Continuation:
        """The tokens that a continuation grows by, of those that were drawn."""
        if text.reason:
            return Continuation((), None)
        tokens = text.tokens
        for token in drawn:
            if token in self.end:
                return Continuation(tokens[len(text.tokens) :], "end")
            tokens = (*tokens, token)
            if self.stop is not None and self.stop(row, tokens):
                return Continuation(tokens[len(text.tokens) :], "stop")
        reason = "length" if len(tokens) == self.num_tokens else None
        return Continuation(tokens[len(text.tokens) :], reason)


def _plan(decoder, params, prompts, num_tokens, strategy, end, chunk):
    """What the programs of a batch depend on, and its prompts with padding."""
    if num_tokens < 1 or (chunk is not None and chunk < 1):
        raise ValueError(f"{num_tokens} tokens in chunks of {chunk}: give 1 or more of each")
    if not prompts:
        raise ValueError("no prompt to continue")
    for number, prompt in enumerate(prompts, 1):
        if not len(prompt):
            raise ValueError(f"prompt {number} is empty: a continuation needs a token before it")
    longest = max(map(len, prompts))
    try:
        # The last token of a continuation is not read.
        decoder.check(params, longest + num_tokens - 1)
    except ValueError as error:
        raise ValueError(
            f"a prompt of {longest} tokens and {num_tokens} after it: {error}"
        ) from None
    bucket = find_bucket(prompts, num_tokens, chunk)
    return Plan(decoder, bucket, strategy, tuple(end)), pad_prompts(prompts, bucket)


def _search(decoder, params, prompts, num_tokens, strategy, end, stop, chunk):
    """The best continuation of each prompt by beam search."""
    plan, padded = _plan(decoder, params, prompts, num_tokens, strategy, end, chunk)
    limits = np.ones(plan.bucket.rows, np.int32)
    limits[: len(prompts)] = num_tokens + 1  # the end is one more
    found = jax.tree.map(np.asarray, search(plan, params, padded, limits))
    texts = []
    for row in range(len(prompts)):
        tokens = tuple(found.tokens[row, 0, : found.lengths[row, 0] - 1].tolist())
        new = _Reader(frozenset(), stop, num_tokens).read(row, Continuation((), None), tokens)
        text = new._replace(reason=new.reason or "end", log_prob=float(found.log_probs[row, 0]))
        texts.append(text)
    return texts
