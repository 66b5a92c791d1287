"""Command line of the conformance matrix."""

import sys
from collections.abc import Sequence

from absl import app, flags

from attn_research.attention import api
from attn_research.attention.testing.cases import MASKS, MECHANISMS
from attn_research.attention.testing.interpret import interpret_kernels
from experiments.conformance import matrix
from experiments.harness.path_flags import define_path


def main(argv: Sequence[str]) -> None:
    del argv
    values = flags.FLAGS
    if values.interpret:
        interpret_kernels()
    wrong = matrix.run(
        values.implementations,
        values.mechanisms,
        values.masks,
        samples=values.samples,
        optimized=values.optimized,
        progress=values.progress,
        output=values.output,
    )
    if wrong:
        sys.exit("\n".join(["error: not as the oracle:", *wrong]))


def _define_flags() -> None:
    known = {
        "implementations": [each.name for each in api.IMPLEMENTATIONS],
        "mechanisms": list(MECHANISMS),
        "masks": list(MASKS),
    }
    for flag, names in known.items():
        flags.DEFINE_list(flag, names, f"which {flag}, with commas")
        flags.register_validator(
            flag,
            lambda chosen, names=names: set(chosen) <= set(names),
            message=f"choose from {', '.join(names)}",
        )
    flags.DEFINE_integer("samples", 24, "how many lengths and head widths", 0)
    flags.DEFINE_bool("optimized", False, "with all of XLA's optimizations, which takes far longer")
    flags.DEFINE_bool("interpret", False, "run kernels of accelerators too, an operation at a time")
    flags.DEFINE_bool("progress", True, "a progress bar")
    define_path("output", "", "folder for conformance.md and .json")


if __name__ == "__main__":
    _define_flags()
    app.run(main)
