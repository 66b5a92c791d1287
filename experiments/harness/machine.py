"""The machine of a run: a CPU's cores as devices, and a cache of compiled programs."""

import hashlib
import logging
import os
from pathlib import Path

import jax

from attn_research.training import processes
from attn_research.training.cores import use_cores
from experiments.harness.config import Config
from experiments.harness.results import processor_kind


def divide_cpu(config: Config) -> None:
    """Makes the cores of a CPU devices, unless JAX was told of others."""
    part = config.execution
    told = jax.config.jax_num_cpu_devices > 0 or "device_count" in os.environ.get("XLA_FLAGS", "")
    whole = config.train.scale == "tiny" and not part.cpu_devices
    if told or whole or part.placement == "jit" or processes.is_initialized():
        return
    if (count := use_cores(part.cpu_devices)) > 1 and jax.default_backend() == "cpu":
        logging.info(
            "%d cores are %d devices, each with its rows of a batch (--cpu_devices=1: one device)",
            count, count,
        )  # fmt: skip


def cache_programs() -> None:
    """Keeps compiled programs in the user's cache folder, where later runs find them.

    They are of one kind of processor, and a home may be shared by several machines. A folder that
    JAX was told of, by JAX_COMPILATION_CACHE_DIR, is left as it is.
    """
    if jax.config.jax_compilation_cache_dir:
        return
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kind = hashlib.sha256(processor_kind().encode()).hexdigest()[:12]
    folder = root / "attn_research" / "compiled" / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logging.info("compiled programs are not kept: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
