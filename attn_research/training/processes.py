"""Multi-process training: initialization, the primary process, broadcasts, shutdown.

Every process starts with the same flags, has its own devices and reads its own rows of every batch.
The primary process, number 0, alone reads and writes the run's folder, so that machines need no
shared disk.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Generator, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from attn_research.training import watch
from attn_research.types import PyTree

# Seconds without a sign of life after which a process counts as dead, and the others stop.
HEARTBEAT = 20


def initialize(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Connection of the processes of one run; without arguments the cluster's environment has them.

    `coordinator` is HOST:PORT of the primary process. Call it before any device is used. Raises
    ValueError where the arguments, or the cluster's environment, are incomplete or wrong.
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
        jax.distributed.initialize(
            coordinator, num_processes, process_id, heartbeat_timeout_seconds=HEARTBEAT
        )
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"the processes of this run did not connect ({str(error).splitlines()[0]}): start each "
            "of them, with the same --coordinator and --num_processes"
        ) from error
    watch.start(coordinator.rpartition(":")[0] if coordinator else None)


def is_primary() -> bool:
    """True for the primary process, which alone reads and writes the run's folder."""
    return jax.process_index() == 0


def broadcast_from_primary(tree: PyTree) -> PyTree:
    """Broadcast of the primary process's arrays; the others give arrays of the same shapes."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, tree))


def is_initialized() -> bool:
    """True if this process is connected to others."""
    return jax.distributed.is_initialized()


@contextlib.contextmanager
def exit_on_error() -> Generator[None]:
    """Immediate exit on an error, if connected: an orderly exit would wait for the others."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if is_initialized():
            if not isinstance(error, SystemExit):
                traceback.print_exception(error)
            sys.stderr.flush()
            code = getattr(error, "code", 1)
            os._exit(code if isinstance(code, int) else 1)
        raise


def shutdown() -> None:
    """Disconnection of the processes; each then has its own devices alone."""
    if is_initialized():
        watch.stop()
        jax.distributed.shutdown()
