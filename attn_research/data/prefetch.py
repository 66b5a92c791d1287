"""Items of a sequence made before they are asked for, in order."""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

_make: Callable[[int], Any] | None = None  # of a worker


def prefetch(
    make: Callable[[int], Any], start: int, stop: int = sys.maxsize, workers: int = 0
) -> Iterator[Any]:
    """make(start) to make(stop - 1), by a thread, or each in one of so many processes.

    Those get `make` once, so it is to be picklable and may be large. An error in it is raised here
    in its turn. Closing the iterator ends the processes.
    """
    if workers:
        return _by_processes(make, start, stop, workers)
    import grain  # slow to import

    dataset = grain.MapDataset.range(start, stop).map(make)
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
    return iter(dataset.to_iter_dataset(options))


def _by_processes(make, start, stop, workers):
    # A fork of a process that has threads, as JAX's has, may hang.
    context = multiprocessing.get_context("spawn")
    # As an argument, it would be read by one process after another: each begins to read when it has
    # imported what the program does, and the next is started when it has read.
    with tempfile.NamedTemporaryFile() as file:
        pickle.dump(make, file)
        file.flush()
        pool = concurrent.futures.ProcessPoolExecutor(workers, context, _keep, (file.name,))
        try:
            waiting = collections.deque()
            for number in range(start, stop):
                waiting.append(pool.submit(_call, number))
                if len(waiting) > 3 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _keep(name):
    global _make
    # Gone, where all was closed before this process had started.
    with contextlib.suppress(FileNotFoundError), open(name, "rb") as file:
        _make = pickle.load(file)


def _call(number):
    return _make(number)
