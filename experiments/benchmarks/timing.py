"""Timing of calls of `attend`: compiled, warm, and in turn with what they are compared to."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from attn_research.attention import attend


def time_call(compiled: Callable[..., Any], arrays: Sequence[jax.Array]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    jax.block_until_ready(compiled(*arrays))
    return time.perf_counter() - start


def repeated(function: Callable[..., Any], calls: int) -> Callable[..., Any]:
    """`calls` calls in one program, each of the arguments of the one before but for a number.

    A device is then never without work, which it is where a call takes it less time than Python.
    The first number of each argument is the first of the last result, so that nothing of a call is
    done once for all, but for what is made of arrays that are no arguments, as those of a mask.
    """
    if calls == 1:
        return function

    def run(*operands):
        def again(_, carry):
            operands, result = carry
            number = jax.tree.leaves(result)[0].ravel()[0]
            operands = [x.at[(0,) * x.ndim].set(number.astype(x.dtype)) for x in operands]
            return operands, function(*operands)

        return jax.lax.fori_loop(1, calls, again, (list(operands), function(*operands)))[1]

    return run


def with_gradient(attention: Callable[..., jax.Array]) -> Callable[..., Any]:
    """The context and the gradients of query, key and value, of a cotangent and those.

    It is an argument, for XLA computes what it can of a large constant while it compiles.
    """

    def both(cotangent, *arrays):
        context, pull = jax.vjp(attention, *arrays)
        return context, pull(cotangent)

    return both


def compile_run(
    attention: Callable[..., Any],
    shape: tuple[int, ...],
    gradient: bool,
    dtype: Any = jnp.float32,
    calls: int = 1,
) -> tuple[Callable[[], float], int]:
    """A timed call, compiled and run once, and the temporary bytes of its program.

    Its `calls` are one program; the seconds, and the temporary bytes, are those of one call.
    """
    keys = jax.random.split(jax.random.key(0), 4)
    *arrays, cotangent = (jax.random.normal(key, shape, dtype) for key in keys)
    return compile_call(attention, arrays, cotangent if gradient else None, calls)


def compile_call(
    attention: Callable[..., Any],
    arrays: Sequence[jax.Array],
    cotangent: jax.Array | None,
    calls: int = 1,
) -> tuple[Callable[[], float], int]:
    """`compile_run` of given arrays, with gradients where there is a cotangent."""
    function, operands = attention, arrays
    if cotangent is not None:
        function, operands = with_gradient(attention), (cotangent, *arrays)
    function = jax.jit(function)  # traced once for both programs
    one = function.lower(*operands).compile()
    compiled = one if calls == 1 else jax.jit(repeated(function, calls)).lower(*operands).compile()

    def run() -> float:
        return time_call(compiled, operands) / calls

    run()
    return run, one.memory_analysis().temp_size_in_bytes


def ours(implementation: str | None = None, **options: Any) -> Callable[..., Any]:
    """`attend` of query, key and value."""

    def attention(*arrays):
        context, weights = attend(*arrays, implementation=implementation, **options)
        return context if weights is None else (context, weights)

    return attention


def in_turn(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each system in each round."""
    found = [{name: run() for name, run in runs.items()} for _ in range(rounds)]
    return {name: [one[name] for one in found] for name in runs}


def medians(seconds: dict[str, list[float]], base: str) -> dict[str, dict[str, Any]]:
    """By system: the median of seconds, and of its ratio to `base` in the same round."""
    return {
        name: {
            "seconds": statistics.median(found),
            "times_as_long": round(
                statistics.median(a / b for a, b in zip(found, seconds[base], strict=True)), 3
            ),
            "all_seconds": [round(each, 5) for each in found],
        }
        for name, found in seconds.items()
    }
