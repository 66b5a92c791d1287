"""The conformance matrix: implementations of attention compared with a float64 oracle.

python -m experiments.conformance --interpret --output=experiments/results/conformance
"""

import sys
from collections.abc import Sequence

import jax

from attn_research.attention.testing.transformations import NUM_DEVICES

jax.config.update("jax_num_cpu_devices", NUM_DEVICES)  # before any of them is used

from absl import app, flags

from attn_research.attention import api
from attn_research.attention.testing.cases import MASKS
from attn_research.attention.testing.mechanisms import MECHANISMS
from experiments.conformance import matrix
from experiments.harness.path_flags import define_path


def main(argv: Sequence[str]) -> None:
    del argv
    values = flags.FLAGS
    transformations = None
    if values.transformations:  # before kernels are interpreted, which takes minutes for these
        names = values.implementations
        transformations = matrix.transform(names, progress=values.progress)
    wrong = matrix.run(
        values.implementations,
        values.mechanisms,
        values.masks,
        samples=values.samples,
        transformations=transformations,
        optimized=values.optimized,
        interpret=values.interpret,
        progress=values.progress,
        output=values.output,
    )
    if wrong:
        sys.exit("\n".join(["error: these differ from the oracle:", *wrong]))


def _define_flags() -> None:
    # A ring is of programs on several devices, which have tests of their own.
    names = [each.name for each in api.IMPLEMENTATIONS if each.name != "ring"]
    known = dict(implementations=names, mechanisms=list(MECHANISMS), masks=list(MASKS))
    for flag, names in known.items():
        flags.DEFINE_list(flag, names, f"{flag.capitalize()} to compare, with commas.")
        flags.register_validator(
            flag,
            lambda chosen, names=names: set(chosen) <= set(names),
            message=f"choose from {', '.join(names)}",
        )
    flags.DEFINE_integer("samples", 24, "Number of sampled lengths and head widths.", 0)
    flags.DEFINE_bool("transformations", True, "Try transformations and modes of JAX too.")
    flags.DEFINE_bool("optimized", False, "Use all of XLA's optimizations, which takes far longer.")
    flags.DEFINE_bool("interpret", False, "Interpret kernels of GPUs and TPUs on this CPU as well.")
    flags.DEFINE_bool("progress", True, "Show a progress bar.")
    define_path("output", "", "Folder for conformance.md and conformance.json.")


if __name__ == "__main__":
    _define_flags()
    app.run(main)
