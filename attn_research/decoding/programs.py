"""Compiled programs of generation: reading of prompts, sampling and beam search."""

import dataclasses
import functools
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from attn_research.decoding.buckets import Bucket, Padded
from attn_research.decoding.cache import join_shared, part_shared
from attn_research.decoding.sampling import Sampling
from attn_research.decoding.search import Hypotheses, Vocabulary, beam_search
from attn_research.types import Array, Bool, Float, Int, Key, PyTree


@runtime_checkable
class Decoder(Protocol):
    """A network that reads texts in chunks, as pure functions of its parameters; hashable."""

    def check(self, params: PyTree, max_length: int) -> None:
        """ValueError where a text of so many tokens is too long."""
        ...

    def begin(self, params: PyTree, batch_size: int, num_slots: int) -> PyTree:
        """The state before the first token, with room for so many tokens and padding."""
        ...

    def extend(
        self,
        params: PyTree,
        state: PyTree,
        tokens: Int[Array, "B K T"],
        valid: Bool[Array, "B T"] | None = None,
    ) -> tuple[Float[Array, "B K V"], PyTree]:
        """The logits of the token after the last, and the state after it."""
        ...


@dataclasses.dataclass(frozen=True)
class Beam:
    """Beam search; scores are log-probabilities over `length_penalty` of `alpha` and `offset`.

    Finished hypotheses keep their place in the beam, and lose it to unfinished ones of higher
    scores. transformers keeps them apart and goes on with `size` unfinished ones, so where texts
    end before the limit its best may be another.
    """

    size: int = 4
    alpha: float = 1.0
    offset: float = 0.0

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"beam_size {self.size}: give 1 or more")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a compiled program depends on besides the shapes of parameters."""

    decoder: Decoder
    bucket: Bucket
    strategy: Sampling | Beam
    end: tuple[int, ...]

    def begin(self, params: PyTree) -> PyTree:
        """The state of the batch before the first chunk."""
        return self.decoder.begin(params, self.bucket.rows, self.bucket.num_slots)

    def read(self, params: PyTree, state: PyTree, prompts: Padded) -> PyTree:
        """The state without its shared parts, after all chunks of the prompts."""
        shared, size = part_shared(self.begin(params))[0], self.bucket.chunk

        def read_chunk(number, state):
            ids, valid = (
                jax.lax.dynamic_slice_in_dim(x, number * size, size, axis=1)
                for x in (prompts.ids, prompts.valid)
            )
            state = join_shared(shared, state)
            return part_shared(self.decoder.extend(params, state, ids[:, None], valid)[1])[1]

        return jax.lax.fori_loop(0, prompts.num_chunks, read_chunk, state)


class Progress(NamedTuple):
    """A batch of texts between two calls of `advance`."""

    state: PyTree  # without its shared parts
    last: Int[Array, "B"]  # which is read next
    number: Int[Array, ""]  # of tokens drawn
    tokens: Int[Array, "B num_slots"]


@functools.partial(jax.jit, static_argnums=0)
def start(plan: Plan, params: PyTree, last: Int[Array, "B"]) -> Progress:
    """The batch before its prompts are read."""
    tokens = jnp.zeros((plan.bucket.rows, plan.bucket.num_slots), jnp.int32)
    return Progress(part_shared(plan.begin(params))[1], last, jnp.int32(0), tokens)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def advance(
    plan: Plan,
    params: PyTree,
    progress: Progress,
    prompts: Padded,
    keys: Key[Array, "B"],
    over: Bool[Array, "B"],
    upto: Int[Array, ""],
) -> Progress:
    """The batch after the chunks of its prompts, and after `upto` tokens were drawn.

    Fewer are drawn where all texts are over before, by an end symbol or because they were.
    """
    shared = part_shared(plan.begin(params))[0]
    progress = progress._replace(state=plan.read(params, progress.state, prompts))

    def unfinished(carry):
        progress, over = carry
        return (progress.number < upto) & ~jnp.all(over)

    def draw(carry):
        progress, over = carry
        state = join_shared(shared, progress.state)
        logits, state = plan.decoder.extend(params, state, progress.last[:, None, None])
        each = jax.vmap(jax.random.fold_in, (0, None))(keys, progress.number)
        token = plan.strategy.draw(logits[:, 0], each)
        tokens = jax.lax.dynamic_update_index_in_dim(
            progress.tokens, token, progress.number, axis=1
        )
        over |= _among(token, plan.end)
        return Progress(part_shared(state)[1], token, progress.number + 1, tokens), over

    return jax.lax.while_loop(unfinished, draw, (progress, over))[0]


class _Counted(NamedTuple):
    """The state of a beam, and how many tokens were read of each hypothesis."""

    state: PyTree
    count: Int[Array, "B K"]


@functools.partial(jax.jit, static_argnums=0)
def search(plan: Plan, params: PyTree, prompts: Padded, limits: Int[Array, "B"]) -> Hypotheses:
    """The best hypothesis of each text, of at most `limits` tokens, of which the end is one.

    The end of a hypothesis is the token V after the vocabulary, as probable as all end symbols
    together. At the limit it costs nothing.
    """
    shared, own = part_shared(plan.begin(params))
    state = plan.read(params, own, prompts)
    batch = plan.bucket.rows

    def step(counted, tokens):
        state = join_shared(shared, counted.state)
        # A finished hypothesis goes on with padding, which the network has no embedding for.
        known = jnp.minimum(tokens, size - 1)
        logits, state = plan.decoder.extend(params, state, known[..., None])
        ids = jnp.arange(size).reshape(1, 1, -1)
        ends = _among(ids, plan.end)
        end = jax.nn.logsumexp(jnp.where(ends, logits, -jnp.inf), axis=-1, keepdims=True)
        logits = jnp.concatenate([jnp.where(ends, -jnp.inf, logits), end], axis=-1)
        count = counted.count + 1
        forced = jnp.where(jnp.arange(size + 1) == size, 0.0, -jnp.inf).reshape(1, 1, -1)
        logits = jnp.where((count >= limits[:, None])[..., None], forced, logits)
        return logits, _Counted(part_shared(state)[1], count), ()

    first = prompts.last
    whole = join_shared(shared, state)
    shapes = jax.eval_shape(plan.decoder.extend, params, whole, first[:, None, None])
    size = shapes[0].shape[-1]
    return beam_search(
        step,
        _Counted(state, jnp.zeros((batch, 1), jnp.int32)),
        limits,
        max_length=plan.bucket.num_slots + 1,
        beam_size=plan.strategy.size,
        vocabulary=Vocabulary(pad=size + 1, bos=size + 1, eos=size),
        alpha=plan.strategy.alpha,
        offset=plan.strategy.offset,
        n_best=1,
        first=first,
    )


def _among(tokens: Array, chosen: tuple[int, ...]) -> Any:
    """Which tokens are some of those chosen."""
    if not chosen:
        return jnp.zeros(tokens.shape, bool)
    return jnp.isin(tokens, jnp.array(chosen, jnp.int32))
