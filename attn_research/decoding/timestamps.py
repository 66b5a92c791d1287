"""Timestamps of speech: which tokens may follow where times stand around the segments of a text.

Radford et al. 2022, section 2.3, and the rules of the authors' code: a text is times, words, times,
times, words, times, ... Tokens of times have the last ids, in order of time.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from attn_research.types import Array, Bool, Float, Int

FORCED = -1e9  # the logit of an end that the rules do not allow: a search may have to end


class TimeRules(NamedTuple):
    """The ids of the first time, 0 seconds, of the end of a text, and of the token "no times".

    Words have ids below that of the end. A text begins within `most_first` steps of time.
    """

    first: int
    end: int
    no_times: int
    most_first: int = 50  # one second


class TimeState(NamedTuple):
    """Of each hypothesis how many tokens it has, whether its last but one is a time, and its last
    time.
    """

    count: Int[Array, "B K"]
    before_is_time: Bool[Array, "B K"]
    last_time: Int[Array, "B K"]

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> "TimeState":
        """The state before the first token."""
        none = jnp.zeros(shape, jnp.int32)
        return cls(none, jnp.zeros(shape, bool), none)


def follow(
    rules: TimeRules,
    state: TimeState,
    previous: Int[Array, "B K"],
    logits: Float[Array, "B K V"],
) -> tuple[Float[Array, "B K V"], TimeState]:
    """The logits with -inf where a token may not follow the `previous` one, and the state after it.

    Before any token `previous` is that of the start. Times never go back. After words comes a time
    that ends their segment, then one that begins the next, or the end. Where times together are
    likelier than each word, it is a time.
    """
    is_time = (state.count > 0) & (previous >= rules.first)
    last_time = jnp.where(is_time, previous, state.last_time)[..., None]
    begins = (state.count == 0)[..., None]
    # A time after words, which another has to follow, unless the text ends.
    ends_segment = (is_time & (state.count > 1) & ~state.before_is_time)[..., None]
    begins_segment = is_time[..., None] & ~ends_segment
    ids = jnp.arange(logits.shape[-1]).reshape(1, 1, -1)
    times, words = ids >= rules.first, ids < rules.end
    banned = (ids == rules.no_times) | (times & begins_segment) | (words & ends_segment)
    banned |= times & (ids < last_time + ~ends_segment)
    banned |= begins & ~(times & (ids <= rules.first + rules.most_first))
    allowed = jnp.where(banned, -jnp.inf, logits.astype(jnp.float32))
    of_times = jax.nn.logsumexp(jnp.where(times, allowed, -jnp.inf), axis=-1, keepdims=True)
    likeliest = jnp.max(jnp.where(times, -jnp.inf, allowed), axis=-1, keepdims=True)
    banned |= ~times & (of_times > likeliest)
    low = jnp.where(ids == rules.end, FORCED, -jnp.inf)
    after = TimeState(state.count + 1, is_time, last_time[..., 0])
    return jnp.where(banned, low, allowed), after


def segments(rules: TimeRules, tokens: list[int]) -> list[tuple[int, int | None, list[int]]]:
    """(start, end, words) of each segment of a text without its end.

    Starts and ends are steps of time; the last segment of a text that was cut off has no end.
    """
    found: list[tuple[int, int | None, list[int]]] = []
    start, words = 0, []
    for token in tokens:
        if token < rules.first:
            words.append(token)
        elif words:
            found.append((start, token - rules.first, words))
            words = []
        else:
            start = token - rules.first
    return [*found, (start, None, words)] if words else found
