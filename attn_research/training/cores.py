"""The cores of a CPU as devices: each computes its rows of a batch, on one thread.

XLA's CPU programs use several cores for one product at a time, which leaves much of them idle;
with the rows of a batch divided among them all work is done in parallel.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn_research.attention.backends.xla_flash.cache import available_cores
from attn_research.types import PyTree

_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"


def use_cores(count: int = 0) -> int:
    """The number of devices that the CPU is divided into: its cores, or `count`; 1 leaves it whole.

        from attn_research.training.cores import use_cores

        use_cores()  # before JAX is used; then jax.devices() has one for each core

    Cores are those that this process may use. Raises ValueError for more than there are, and
    RuntimeError where JAX has been used already.
    """
    cores = available_cores()
    if count > cores:
        raise ValueError(f"{count} devices for {cores} cores: give at most {cores}, or 0 for all")
    count = count or cores
    if count == 1:
        return 1
    jax.config.update("jax_num_cpu_devices", count)
    if count == cores:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_ONE_THREAD}".strip()
    return count


def cores_in_use() -> int:
    """The number of devices that `use_cores` made; 1 without it, or where JAX uses no CPU."""
    if jax.config.jax_num_cpu_devices <= 1 or jax.default_backend() != "cpu":
        return 1
    return jax.local_device_count()


def over_cores(
    function: Callable[..., PyTree], num_shared: int = 1, *, summed: bool = False
) -> Callable[..., PyTree]:
    """The compiled `function(*shared, *rows)`, its rows divided among the cores in use.

    Rows are arrays [B, ...], as are results, or with `summed` sums over rows; what is computed for
    a row depends on no other. The first `num_shared` arguments are the same for all rows. As many
    cores are used as divide B evenly. Without `use_cores` this is `jax.jit`.
    """
    whole = jax.jit(function)

    @functools.cache
    def divided(count: int) -> Callable[..., PyTree]:
        def on_core(shared: tuple, rows: tuple) -> PyTree:
            found = function(*shared, *rows)
            return jax.lax.psum(found, "rows") if summed else found

        mesh = Mesh(np.array(jax.local_devices()[:count]), ("rows",))
        out = P() if summed else P("rows")
        mapped = jax.shard_map(
            on_core, mesh=mesh, in_specs=(P(), P("rows")), out_specs=out, check_vma=False
        )
        placed = NamedSharding(mesh, P()), NamedSharding(mesh, P("rows"))
        return jax.jit(mapped, in_shardings=placed, out_shardings=NamedSharding(mesh, out))

    def call(*arguments: Any) -> PyTree:
        shared, rows = arguments[:num_shared], arguments[num_shared:]
        num_rows = jax.tree.leaves(rows)[0].shape[0]
        count = max(n for n in range(1, cores_in_use() + 1) if num_rows % n == 0)
        return whole(*arguments) if count == 1 else divided(count)(shared, rows)

    return call
