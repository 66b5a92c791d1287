"""Timing of calls of `attend`: compiled, warm, in interleaved rounds with other systems."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn_research.attention import attend
from attn_research.training.cores import cores_in_use


def time_call(compiled: Callable[..., Any], arrays: Sequence[jax.Array]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    jax.block_until_ready(compiled(*arrays))
    return time.perf_counter() - start


def repeated(function: Callable[..., Any], calls: int) -> Callable[..., Any]:
    """One program with `calls` calls, each depending on the call before.

    The program keeps the device busy when a call is shorter than Python's dispatch. The first
    number of each argument comes from the previous result. This dependency stops XLA from hoisting
    calls out of the loop; constants such as a mask's arrays may still be hoisted.
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
    """The context and the gradients of query, key and value, given a cotangent.

    The cotangent is an argument because XLA would constant-fold a large literal.
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
    """A timed call on random arrays, compiled and run once, and its temporary bytes.

    One program holds `calls` calls; seconds and temporary bytes are those of one call.
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
    """`compile_run` on given arrays, with gradients if there is a cotangent."""
    arrays, cotangent = jax.device_put((list(arrays), cotangent), _over_cores(arrays))
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


def _over_cores(arrays: Sequence[jax.Array]) -> NamedSharding | None:
    """The sharding over the cores in use, of batch elements where they divide them, or of heads."""
    count = cores_in_use()
    if count == 1:
        return None
    mesh = Mesh(np.array(jax.devices()), ("cores",))
    by_batch = all(len(array) % count == 0 for array in arrays)
    return NamedSharding(mesh, P("cores") if by_batch else P(None, None, "cores"))


def ours(implementation: str | None = None, **options: Any) -> Callable[..., Any]:
    """`attend` as a function of query, key and value; returns weights only if they are captured."""

    def attention(*arrays):
        context, weights = attend(*arrays, implementation=implementation, **options)
        return context if weights is None else (context, weights)

    return attention


def in_turn(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each system in each round."""
    found = [{name: run() for name, run in runs.items()} for _ in range(rounds)]
    return {name: [one[name] for one in found] for name in runs}


def medians(seconds: dict[str, list[float]], base: str) -> dict[str, dict[str, Any]]:
    """Median seconds of each system, and the median ratio to `base` in the same round."""
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
