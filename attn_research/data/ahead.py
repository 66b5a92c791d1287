"""Items of a sequence made before they are asked for, in order."""

import collections
import concurrent.futures
import itertools
import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

_make: Callable[[int], Any] | None = None  # of a worker


def made_ahead(make: Callable[[int], Any], start: int, workers: int) -> Iterator[Any]:
    """make(start), make(start + 1), ... without end, each in one of so many processes.

    `make` goes to every process once, so it is to be picklable and may be large. An error in it is
    raised here in its turn. Closing the iterator ends the processes.
    """
    # A fork of a process that has threads, as JAX's has, may hang.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, _keep, (make,))
    try:
        waiting = collections.deque()
        for number in itertools.count(start):
            waiting.append(pool.submit(_call, number))
            if len(waiting) > 3 * workers:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _keep(make):
    global _make
    _make = make


def _call(number):
    return _make(number)
