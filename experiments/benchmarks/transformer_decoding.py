"""Speed of beam search with the Transformer beside `MarianMTModel.generate` and CTranslate2.

python -m experiments.benchmarks.transformer_decoding --peer_python=PATH

Random weights of equal sizes translate the same random sources by a beam of 4 into exactly 30 words
each. The peers need `pip install -e .[peers]`, in this environment or in that
of `--peer_python`. They take turns as `experiments.benchmarks.race` says. The figure is words of
the best translations per second.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from experiments.benchmarks import race

SIZES = {
    "3x256": {"num_layers": 3, "model_dim": 256, "mlp_dim": 1024, "num_heads": 8},
    "6x512": {"num_layers": 6, "model_dim": 512, "mlp_dim": 2048, "num_heads": 8},
}
SHARED = {"vocab_size": 10_000, "beam_size": 4}
LENGTH = 30
PAD, BOS, EOS = 0, 1, 2


def our_search(config: dict) -> race.Run:
    """The search of `experiments.tasks.translation`, compiled."""
    import jax

    from experiments.harness.program import make_program
    from experiments.tasks.translation.inference import search
    from experiments.vaswani2017.paper import PAPER

    # The limit is the same for all; below it no translation ends, as `never_ending` sees to.
    fixed = {"max_length_factor": 0, "max_length_offset": LENGTH, "length_penalty": 0.0}
    ours = PAPER.config.replace(**config, **fixed)
    program = make_program(PAPER, ours)
    params = never_ending(jax.jit(program.init)(jax.random.key(0)))
    run_search = jax.jit(functools.partial(search, [program.network], ours.task.search))

    def run(batch):
        source = batch["source"]
        limits = np.full(len(source), LENGTH)
        found = np.asarray(run_search([params], source, limits, forbidden=PAD).tokens[:, 0])
        assert found.shape == (len(source), LENGTH) and (found != PAD).all(), found
        return found

    return run


def never_ending(params):
    """The end symbol's vector is 0, so its logit is too, far below the best of 10,000."""
    table = params["params"]["source_embedding"]["embedding"]
    words = {"embedding": table.at[EOS].set(0.0)}
    return {"params": {**params["params"], "source_embedding": words}}


RACE = race.Race(
    "experiments.benchmarks.transformer_decoding",
    our_search,
    {
        "marian": ("transformer_marian", {}),
        "marian-sdpa": ("transformer_marian", {"sdpa": True}),
        "ctranslate2": ("transformer_ctranslate2", {}),
    },
    maker="make_search",
)


def write_task(folder: Path, size: str, rows: int, length: int, count: int) -> dict:
    """Sources of random words, of `length` or up to 4 words less."""
    rng = np.random.default_rng(0)
    config = SIZES[size] | SHARED
    batches = []
    for _ in range(count):
        ids = rng.integers(EOS + 2, config["vocab_size"], (rows, length), dtype=np.int32)
        ends = rng.integers(length - 4, length + 1, (rows, 1))
        places = np.arange(1, length + 1)
        source = np.where(places < ends, ids, np.where(places == ends, EOS, PAD))
        batches.append({"source": source.astype(np.int32)})
    about = race.write_work(folder, config, batches)
    return {**about, "target_tokens": count * rows * LENGTH, "rows": rows, "source_length": length}


def tasks() -> Iterator[race.Task]:
    """One of each size."""
    values = flags.FLAGS
    shape = {"rows": values.rows, "length": values.length, "count": values.num_batches}
    for size in values.sizes.split(","):
        yield race.Task({"size": size}, functools.partial(write_task, size=size, **shape))


def _main(argv: Sequence[str]) -> None:
    del argv
    race.main(RACE, tasks)


if __name__ == "__main__":
    flags.DEFINE_string("sizes", "3x256,6x512", f"of {', '.join(SIZES)}")
    flags.DEFINE_integer("rows", 64, "sentences in a batch", lower_bound=1)
    flags.DEFINE_integer("length", 30, "words of a source", lower_bound=6)
    flags.DEFINE_integer("num_batches", 1, "batches in a round", lower_bound=1)
    race.define_flags(RACE, peers="marian,ctranslate2", rounds=7)
    app.run(_main)
