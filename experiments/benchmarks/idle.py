"""The idle share of a machine: speeds are not measured beside other work."""

import sys
import time
from pathlib import Path

LEAST_IDLE = 0.9
STAT = Path("/proc/stat")


def idle_share(seconds: float = 2.0) -> float | None:
    """The share of all processors' time, from 0 to 1, that nothing uses; None where unknown."""
    if not STAT.is_file():
        return None
    before = _times()
    time.sleep(seconds)
    after = _times()
    idle, total = (b - a for a, b in zip(before, after, strict=True))
    return idle / max(total, 1)


def check_idle() -> float | None:
    """The idle share; ValueError where other work uses the machine."""
    share = idle_share()
    if share is not None and share < LEAST_IDLE:
        raise ValueError(
            f"other work uses {1 - share:.0%} of this machine's processors, and would change what "
            "is measured: stop it, or wait"
        )
    return share


def exit_if_busy() -> float | None:
    """The idle share; ends the program with one line where other work uses the machine."""
    try:
        return check_idle()
    except ValueError as error:
        sys.exit(f"error: {error}")


def _times() -> tuple[int, int]:
    """Idle and total time of all processors since the start, in the system's ticks."""
    first = STAT.read_bytes().splitlines()[0].split()[1:]
    # user, nice, system, idle, iowait, irq, softirq, steal
    times = [int(each) for each in first[:8]]
    return times[3] + times[4], sum(times)
