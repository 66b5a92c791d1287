"""Mutated files read in processes of their own, which may hang, grow or end."""

import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from experiments.robustness.mutations import mutate
from experiments.robustness.readers import Reader, WrongRead
from experiments.robustness.samples import Folder

SECONDS_TO_START = 300.0  # of a process, on a busy machine
STARTED, CASE = "started", "case"
LONGEST_LINE = 2000  # characters of an error
ROOM = 4 << 30  # bytes of address space beyond what a process has when it starts


class Job(NamedTuple):
    """What a process does: a reader, the numbers of mutated files, and the time of each."""

    reader: Reader
    seed: int
    numbers: tuple[int, ...]
    seconds: float
    keep: Path | None


class Case(NamedTuple):
    """A folder with a mutated file, or without it."""

    folder: dict[str, bytes]
    about: str


class Outcome(NamedTuple):
    """What became of a mutated file: read (no kind), refused with a kind of error, or a failure."""

    number: int
    kind: str
    failure: str
    about: str
    seconds: float = 0.0
    memory: int = 0


def make_case(samples: Sequence[Folder], seed: int, number: int) -> Case:
    """The mutated file of a number, a pure function of its arguments."""
    rng = random.Random(f"{seed} {number}")
    chosen = rng.choice(samples)
    name = rng.choice(sorted(chosen))
    if len(chosen) > 1 and rng.random() < 0.03:
        rest = {other: content for other, content in chosen.items() if other != name}
        return Case(rest, f"{name}: missing")
    others = [content for sample in samples for content in sample.values()]
    content, about = mutate(chosen[name], rng, others)
    return Case({**chosen, name: content}, f"{name}: {about}")


def run(
    reader: Reader, seed: int, numbers: Sequence[int], seconds: float, keep: Path | None = None
) -> Iterator[Outcome]:
    """The outcome of every number, from as many processes one after the other as that takes.

    `seconds` are what a file may take; the folders of failures are copied to `keep`.
    """
    remaining = list(numbers)
    while remaining:
        job = Job(reader, seed, tuple(remaining), seconds, keep)
        for outcome in _run_process(job):
            remaining.pop(0)
            yield outcome


def _run_process(job: Job) -> Iterator[Outcome]:
    """Outcomes until a process ends or is ended; the last one may be its failure."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=_work, args=(job, Path(folder), theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            said = _receive(ours, SECONDS_TO_START)
            if said is None:
                raise RuntimeError(f"a reader did not start within {SECONDS_TO_START:g} s")
            if said != STARTED:
                raise RuntimeError(f"a reader does not read its own files: {said}")
            for number in job.numbers:
                about = _receive(ours, SECONDS_TO_START)
                found = _receive(ours, job.seconds) if isinstance(about, str) else None
                if not isinstance(found, Outcome):
                    process.join(1.0)
                    _keep(job, number, Path(folder) / CASE)
                    yield Outcome(number, "", _end(process, job.seconds), str(about))
                    return
                yield found
        finally:
            process.kill()
            process.join()
            ours.close()


def _receive(connection: Connection, seconds: float) -> object:
    """What a process sends next, or None where it does not, or has ended."""
    with contextlib.suppress(EOFError, ConnectionError):
        if connection.poll(seconds):
            return connection.recv()
    return None


def _end(process: BaseProcess, seconds: float) -> str:
    if process.exitcode is None:
        return f"took more than {seconds} seconds"
    return f"ended its process with the status {process.exitcode}"


def _work(job: Job, folder: Path, connection: Connection) -> None:
    """The work of a process: an account of every mutated file, then what became of it."""
    _be_silent()
    warnings.simplefilter("ignore")
    try:
        samples = job.reader.samples()
        for sample in samples:  # which also imports what is needed
            _write(sample, folder / "sample")
            job.reader.read(folder / "sample")
    except Exception:
        connection.send(traceback.format_exc())
        return
    _limit_memory()
    connection.send(STARTED)
    for number in job.numbers:
        case = make_case(samples, job.seed, number)
        _write(case.folder, folder / CASE)
        connection.send(case.about)
        found = _try(job.reader, folder / CASE, Outcome(number, "", "", case.about))
        if found.failure:  # written again, for a reader may change its folder
            _write(case.folder, folder / CASE)
            _keep(job, number, folder / CASE)
        connection.send(found)


def _try(reader: Reader, folder: Path, outcome: Outcome) -> Outcome:
    """The outcome of reading a folder."""
    before, start = _reset_peak(), time.perf_counter()
    kind = failure = ""
    try:
        reader.read(folder)
    except (ValueError, OSError) as error:
        kind, text = type(error).__name__, str(error)
        if "\n" in text or len(text) > LONGEST_LINE:
            failure = f"{kind} of more than a line: {text[:500]!r}"
        elif str(folder) not in text:
            failure = f"{kind} that names no file: {text}"
    except WrongRead as error:
        failure = f"read {error}"
    except BaseException as error:  # whatever else it is, it is a failure
        failure = f"{type(error).__name__}: {str(error)[:500]}"
    seconds, memory = time.perf_counter() - start, max(0, _peak() - before)
    if memory > reader.memory and not failure:
        failure = f"took {memory:,} bytes"
    return outcome._replace(kind=kind, failure=failure, seconds=seconds, memory=memory)


def _keep(job: Job, number: int, folder: Path) -> None:
    if job.keep is not None:
        shutil.copytree(folder, job.keep / str(number), dirs_exist_ok=True)


def _write(folder: Folder, place: Path) -> None:
    """Writes files to a folder, in place of those that were there."""
    shutil.rmtree(place, ignore_errors=True)
    for name, content in folder.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _be_silent() -> None:
    """What libraries print of damage goes nowhere, that of libraries in C too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def _limit_memory() -> None:
    """An allocation beyond ROOM fails; the machine does not run out of memory."""
    with contextlib.suppress(OSError):
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, most))


def _reset_peak() -> int:
    """The memory that this process has; what `_peak` gives starts from there (on Linux alone)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """The most memory that this process has had, in bytes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
