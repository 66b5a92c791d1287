"""The conformance matrix: every implementation of attention beside a float64 oracle.

python -m experiments.conformance --output=experiments/results/conformance

Every mechanism x mask x dtype x mode is asked of every implementation: a whole sequence with its
gradients ("train"), a prompt at positions of a cache ("prefill"), one query at a later position
("step"). Then sampled lengths and head widths. What an implementation refuses is listed with its
reason. Exits with 1 where an error exceeds its bound, or a row that may look nowhere is not 0.
"""

import concurrent.futures
import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jaxlib
import numpy as np
from tqdm import tqdm

from attn_research.attention.backends import cudnn, splash
from attn_research.attention.backends.hopper import backend as hopper
from attn_research.attention.backends.pallas_gpu import backend as pallas
from attn_research.attention.testing.cases import DTYPES, MODES, SCORES, Case, pose
from attn_research.attention.testing.comparison import examine
from attn_research.data.files import write_whole
from experiments.conformance import tables as conformance_tables
from experiments.reporting import command_line, environment

SIZES = 2, 9, 17, 4, 2, 3, 6  # B T S N K H Hv
MECHANISMS = {name: {"score": name} for name in SCORES} | {
    "local-m": {"score": "general", "local": "window"},
    "local-p": {"score": "general", "local": "around", "gaussian": True},
}
# Of sampled sizes each implementation gets the first of these that it supports.
SAMPLED_MASKS = "causal & left padding", "window"
# Most of the time goes into compiling hundreds of programs that run for microseconds.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
if jaxlib.__version__.startswith("0.10."):  # later versions do not know it
    QUICK["xla_cpu_use_fusion_emitters"] = False


class Question(NamedTuple):
    """Cases of which an implementation answers the first that it supports."""

    implementation: str
    mechanism: str
    cases: tuple[Case, ...]


def make_matrix(
    implementations: Iterable[str], mechanisms: Iterable[str], masks: Iterable[str]
) -> list[Question]:
    """Every mechanism, mask, mode and dtype of every implementation."""
    questions = []
    for implementation, name, mask in itertools.product(implementations, mechanisms, masks):
        for mode, dtype in itertools.product(MODES, DTYPES):
            case = Case(mask=mask, dtype=dtype, sizes=SIZES, mode=mode, **MECHANISMS[name])
            questions.append(Question(implementation, name, (case,)))
    return questions


def make_samples(implementations: Iterable[str], count: int) -> list[Question]:
    """Seeded draws of T and S in 1..257 and H in 16..256 step 8, over all dtypes in turn."""
    rng = np.random.default_rng(0)
    lengths, widths = rng.integers(1, 258, (count, 2)), 8 * rng.integers(2, 33, count)
    drawn = [(int(T), int(S), int(H)) for (T, S), H in zip(lengths, widths, strict=True)]
    return [
        Question(
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


def answer(question: Question, transform: Callable[[Callable], Callable]) -> dict[str, Any]:
    """What was found, as JSON holds it: errors by name, or the reason of the refusal."""
    implementation, mechanism, cases = question
    # Weights are asked for where they can be had.
    ways = [(case, capture) for case in cases for capture in ("all", None)]
    refused = {way: pose(*way).unsupported(implementation) for way in ways}
    case, capture = next((way for way in ways if refused[way] is None), ways[-1])
    found = {
        "implementation": implementation,
        "mechanism": mechanism,
        "mask": case.mask,
        "mode": case.mode,
        "dtype": case.dtype,
        "sizes": list(case.sizes),
    }
    if refused[case, capture] is not None:
        return found | {"refused": refused[case, capture]}
    try:
        outcome = examine(implementation, case, transform, capture)
    except Exception as error:  # an implementation may fail in any way, and others are to be seen
        return found | {"wrong": [f"{type(error).__name__}: {error}".splitlines()[0]]}
    empty = int((~pose(case).allowed.any(-1)).sum())
    return found | {"empty_rows": empty, "errors": outcome.worst(), "wrong": outcome.wrong()}


def measure(
    questions: Sequence[Question], *, optimized: bool = False, progress: bool = False
) -> list[dict[str, Any]]:
    """All answers, in order; one program is compiled while another is traced."""
    options = None if optimized else QUICK
    ask = functools.partial(answer, transform=functools.partial(jax.jit, compiler_options=options))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = pool.map(ask, questions)
        return list(tqdm(answers, "conformance", len(questions), disable=not progress))


def interpret_kernels(assign: Callable[[Any, str, Any], None] = setattr) -> None:
    """Lets the kernels of accelerators run here, an operation at a time; `assign` sets how."""
    assign(cudnn, "BACKEND", "xla")
    for kernels in (pallas, splash):
        assign(kernels, "INTERPRET", True)
    if jax.__version_info__ >= hopper.RELEASE:  # before, it is refused for that
        from jax.experimental.pallas import mosaic_gpu

        assign(hopper, "INTERPRET", mosaic_gpu.InterpretGPUParams())


def run(
    implementations: Sequence[str],
    mechanisms: Sequence[str],
    masks: Sequence[str],
    samples: int,
    *,
    optimized: bool = False,
    progress: bool = False,
    output: str = "",
) -> list[str]:
    """Measures, prints and writes the matrix; returns a line for everything wrong in it."""
    matrix = make_matrix(implementations, mechanisms, masks)
    questions = [*matrix, *make_samples(implementations, samples)]
    answers = measure(questions, optimized=optimized, progress=progress)
    found = {
        "command": command_line("experiments.conformance", sys.argv[1:]),
        "environment": environment(),
        "optimized": optimized,
        **conformance_tables.pack(answers[: len(matrix)], answers[len(matrix) :]),
    }
    text = conformance_tables.render(found)
    print(text)
    if output:
        write_whole(Path(output) / "conformance.json", conformance_tables.dump(found).encode())
        write_whole(Path(output) / "conformance.md", text.encode())
    return found["wrong"]
