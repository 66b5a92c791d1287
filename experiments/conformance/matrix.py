"""The trials of the conformance matrix: implementations, cases, and sampled sizes.

Every implementation is tried on every mechanism x mask x dtype x mode. The modes are a whole
sequence with its gradients ("train"), a prompt at positions of a cache ("prefill"), and one query
at a later position ("step"). Sampled lengths and head widths follow. Calls that an implementation
refuses are listed with its reason.
"""

import concurrent.futures
import functools
import multiprocessing
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jaxlib
import numpy as np
from tqdm import tqdm

from attn_research.attention.testing.cases import DTYPES, Case, matrix_cases, prepare
from attn_research.attention.testing.comparison import compare
from attn_research.attention.testing.interpret import interpret_kernels
from attn_research.attention.testing.transformations import TRANSFORMATIONS, outcome
from attn_research.data.files import write_whole
from attn_research.training.cores import available_cores
from experiments.conformance import tables
from experiments.harness.results import command_line, environment

# For sampled sizes each implementation gets the first of these that it supports.
SAMPLED_MASKS = "causal & left padding", "window"
# Most of the time is spent compiling hundreds of programs that run for microseconds.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
if jaxlib.__version__.startswith("0.10."):  # later versions do not know it
    QUICK["xla_cpu_use_fusion_emitters"] = False


class Trial(NamedTuple):
    """An implementation and its cases; it runs the first case that it supports."""

    implementation: str
    mechanism: str
    cases: tuple[Case, ...]


def make_matrix(
    implementations: Iterable[str], mechanisms: Iterable[str], masks: Iterable[str]
) -> list[Trial]:
    """Every mechanism, mask, mode and dtype of every implementation."""
    return [
        Trial(implementation, mechanism, (case,))
        for implementation in implementations
        for mechanism, case in matrix_cases(mechanisms, masks)
    ]


def make_samples(implementations: Iterable[str], count: int) -> list[Trial]:
    """Seeded draws of T and S in 1..257 and H in 16..256 step 8, over all dtypes in turn."""
    rng = np.random.default_rng(0)
    lengths, widths = rng.integers(1, 258, (count, 2)), 8 * rng.integers(2, 33, count)
    drawn = [(int(T), int(S), int(H)) for (T, S), H in zip(lengths, widths, strict=True)]
    return [
        Trial(
            implementation,
            "scaled_dot",
            tuple(
                Case(mask=mask, dtype=DTYPES[number % 3], sizes=(2, T, S, 2, 1, H, H))
                for mask in SAMPLED_MASKS
            ),
        )
        for implementation in implementations
        for number, (T, S, H) in enumerate(drawn)
    ]


def run_trial(trial: Trial, options: dict[str, Any] | None) -> dict[str, Any]:
    """The result of a trial as JSON: errors by name, or the reason of the refusal."""
    compiled = functools.partial(jax.jit, compiler_options=options)
    implementation, mechanism, cases = trial
    # Weights are captured if the implementation supports it.
    calls = [(case, capture) for case in cases for capture in ("all", None)]
    refused = {call: prepare(*call).unsupported(implementation) for call in calls}
    case, capture = next((call for call in calls if refused[call] is None), calls[-1])
    result = {
        "implementation": implementation,
        "mechanism": mechanism,
        "mask": case.mask,
        "mode": case.mode,
        "dtype": case.dtype,
        "sizes": list(case.sizes),
    }
    if refused[case, capture] is not None:
        return result | {"refused": refused[case, capture]}
    try:
        comparison = compare(implementation, case, compiled, capture)
    except Exception as error:  # a failure of one implementation must not stop the others
        return result | {"wrong": [f"{type(error).__name__}: {error}".splitlines()[0]]}
    empty = int((~prepare(case).allowed.any(-1)).sum())
    return result | {
        "empty_rows": empty, "errors": comparison.worst(), "wrong": comparison.wrong()
    }  # fmt: skip


def measure(
    trials: Sequence[Trial],
    *,
    optimized: bool = False,
    interpret: bool = False,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """The results of all trials, in order."""
    attempt = functools.partial(run_trial, options=None if optimized else QUICK)
    with _pool(len(trials), interpret) as pool:
        results = pool.map(attempt, trials, chunksize=8)
        return list(tqdm(results, "conformance", len(trials), disable=not progress))


def _pool(num_trials: int, interpret: bool) -> concurrent.futures.Executor:
    """Threads for few trials, one of which is compiled while another is traced, else processes."""
    cores, start = available_cores(), interpret_kernels if interpret else None
    if num_trials < 200:  # a process takes seconds to start
        return concurrent.futures.ThreadPoolExecutor(cores, initializer=start)
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(cores, context, start)


def transform(implementations: Sequence[str], *, progress: bool = False) -> dict[str, list[str]]:
    """The outcome of every transformation, for each implementation."""
    return {
        name: [outcome(implementation, name) for implementation in implementations]
        for name in tqdm(TRANSFORMATIONS, "transformations", disable=not progress)
    }


def run(
    implementations: Sequence[str],
    mechanisms: Sequence[str],
    masks: Sequence[str],
    *,
    samples: int,
    transformations: dict[str, list[str]] | None = None,
    optimized: bool = False,
    interpret: bool = False,
    progress: bool = False,
    output: str = "",
) -> list[str]:
    """Measures, prints and writes the matrix; returns a line for each wrong case."""
    matrix = make_matrix(implementations, mechanisms, masks)
    trials = [*matrix, *make_samples(implementations, samples)]
    results = measure(trials, optimized=optimized, interpret=interpret, progress=progress)
    record = {
        "command": command_line("experiments.conformance", sys.argv[1:]),
        "environment": environment(),
        "optimized": optimized,
        **tables.pack(results[: len(matrix)], results[len(matrix) :]),
        "implementations": list(implementations),
        "transformations": transformations or {},
    }
    record["wrong"] += tables.wrong_transformations(record)
    text = tables.render(record)
    print(text)
    if output:
        write_whole(Path(output) / "conformance.json", tables.dump(record).encode())
        write_whole(Path(output) / "conformance.md", text.encode())
    return record["wrong"]
