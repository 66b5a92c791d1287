"""Prefetching: items of a sequence made in order before they are asked for."""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

_make: Callable[[int], Any] | None = None  # in a worker process


def prefetch(
    make: Callable[[int], Any], start: int, stop: int = sys.maxsize, workers: int = 0
) -> Iterator[Any]:
    """make(start) to make(stop - 1), prefetched by a thread or by `workers` processes.

    Each process gets `make` once, so it has to be picklable and may be large. An error in it is
    raised here when its item is due. Closing the iterator ends the processes.
    """
    if workers:
        return _by_processes(make, start, stop, workers)
    import grain  # slow to import

    dataset = grain.MapDataset.range(start, stop).map(make)
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
    return iter(dataset.to_iter_dataset(options))


def _by_processes(make, start, stop, workers):
    # A fork of a process with threads, such as those of JAX, may hang.
    context = multiprocessing.get_context("spawn")
    # Through a file: with a large argument, each process would start only after the one before it
    # had imported the program and read the argument.
    with tempfile.NamedTemporaryFile() as file:
        pickle.dump(make, file)
        file.flush()
        pool = concurrent.futures.ProcessPoolExecutor(workers, context, _load_make, (file.name,))
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


def _load_make(name):
    global _make
    # The file is gone if the iterator was closed before this process had started.
    with contextlib.suppress(FileNotFoundError), open(name, "rb") as file:
        _make = pickle.load(file)


def _call(number):
    return _make(number)
