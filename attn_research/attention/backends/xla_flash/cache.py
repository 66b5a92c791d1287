"""The cores of a device and their caches, which decide how many scores are computed at a time."""

import functools
import os
from pathlib import Path

import jax

ASSUMED = 2**21  # bytes, where the size is not known
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")  # of Linux
UNITS = {"K": 2**10, "M": 2**20}


def cache_bytes() -> int:
    """Bytes of the L2 cache of a core; 2 MiB where JAX uses no CPU or the size is not known."""
    return l2_bytes(CACHES) if jax.default_backend() == "cpu" else ASSUMED


def cores_of_device() -> int:
    """The cores that share the products of a device: those of the process over the CPU devices."""
    if jax.default_backend() != "cpu":
        return 1
    return max(1, available_cores() // jax.local_device_count())


def available_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def l2_bytes(caches: Path) -> int:
    """Bytes of the cache of level 2, of the description of a core's caches in a folder."""
    for level in sorted(caches.glob("index*/level")):
        try:
            if level.read_text().strip() == "2":
                size = (level.parent / "size").read_text().strip()
                return int(size.rstrip("KM")) * UNITS.get(size[-1:], 1)
        except (OSError, ValueError):
            continue
    return ASSUMED
