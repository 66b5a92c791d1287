"""Several processes that train one model: how they meet, who leads, and how they part.

Each starts with the same flags, holds its own devices and reads its own rows of every batch. The
first one leads: it alone reads and writes the run's folder, so that no two machines need share one.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from attn_research.types import PyTree


def meet(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins the processes of one run; with no arguments the cluster's own environment says which.

    `coordinator` is HOST:PORT of the first process. To be called before any device is used. Raises
    ValueError where the arguments, or the cluster, do not say it all.
    """
    given: Sequence = (coordinator, num_processes, process_id)
    if any(x is not None for x in given):
        if any(x is None for x in given):
            raise ValueError(
                "--coordinator, --num_processes and --process_id belong together: give all three, "
                "or --cluster where Slurm, MPI or a TPU pod knows them"
            )
        if not process_id < num_processes:
            raise ValueError(
                f"--process_id={process_id}: with --num_processes={num_processes} it is one of "
                f"0 to {num_processes - 1}"
            )
        if not coordinator.rpartition(":")[2].isdecimal():
            raise ValueError(f"--coordinator={coordinator}: HOST:PORT, as in 10.0.0.1:1234")
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"the processes of this run did not meet ({str(error).splitlines()[0]}): start each "
            "of them, with the same --coordinator and --num_processes"
        ) from error


def leads() -> bool:
    """Whether this process is the one that reads and writes the run's folder."""
    return jax.process_index() == 0


def from_leader(tree: PyTree) -> PyTree:
    """The leader's arrays, on every process; the others give arrays of the same shapes."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, tree))


def met() -> bool:
    """Whether others now count on this process."""
    return jax.distributed.is_initialized()


@contextlib.contextmanager
def ended_by_errors() -> Iterator[None]:
    """Where others wait, an error inside ends the process at once: an orderly end waits for all."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if met():
            if not isinstance(error, SystemExit):
                traceback.print_exception(error)
            sys.stderr.flush()
            os._exit(1)
        raise


def part() -> None:
    """The end of what the processes do together; each then has its own devices alone."""
    if met():
        jax.distributed.shutdown()
