"""Speed of beam search with the Transformer, `MarianMTModel.generate` and CTranslate2.

python -m experiments.benchmarks.transformer_decoding --peer_python=PATH

Random weights of equal sizes translate the same random sources with a beam of 4 into exactly 30
words each. The peers need `pip install -e .[peers]`, in this environment or in that of
`--peer_python`. Speed is in words of the best translations per second. See
`experiments.benchmarks.comparison` for the method.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import app, flags

from experiments.benchmarks import comparison

SIZES = {
    "3x256": {"num_layers": 3, "model_dim": 256, "mlp_dim": 1024, "num_heads": 8},
    "6x512": {"num_layers": 6, "model_dim": 512, "mlp_dim": 2048, "num_heads": 8},
}
SHARED = {"vocab_size": 10_000, "beam_size": 4}
LENGTH = 30
PAD, BOS, EOS = 0, 1, 2


def our_search(config: dict) -> comparison.Run:
    """The search of `experiments.tasks.translation`, compiled."""
    import jax

    from attn_research.training.cores import over_cores
    from experiments.harness.program import make_program
    from experiments.tasks.translation.inference import search
    from experiments.vaswani2017.paper import PAPER

    # Every translation has the maximum length; `never_ending` prevents an earlier end.
    fixed = {"max_length_factor": 0, "max_length_offset": LENGTH, "length_penalty": 0.0}
    ours = PAPER.config.replace(**config, **fixed)
    program = make_program(PAPER, ours)
    params = never_ending(jax.jit(program.init)(jax.random.key(0)))
    run_search = over_cores(functools.partial(search, [program.network], ours.task.search))

    def run(batch):
        source = batch["source"]
        limits = np.full(len(source), LENGTH)
        found = np.asarray(run_search([params], source, limits).tokens[:, 0])
        assert found.shape == (len(source), LENGTH) and (found != PAD).all(), found
        return found

    return run


def never_ending(params):
    """Parameters with a zero end-of-sentence embedding, so that no hypothesis ends early.

    The end symbol's logit is then 0, far below the largest of 10,000.
    """
    table = params["params"]["source_embedding"]["embedding"]
    words = {"embedding": table.at[EOS].set(0.0)}
    return {"params": {**params["params"], "source_embedding": words}}


COMPARISON = comparison.Comparison(
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
    """Sources of random words, each of `length` words or up to 4 fewer."""
    rng = np.random.default_rng(0)
    config = SIZES[size] | SHARED
    batches = []
    for _ in range(count):
        ids = rng.integers(EOS + 2, config["vocab_size"], (rows, length), dtype=np.int32)
        ends = rng.integers(length - 4, length + 1, (rows, 1))
        places = np.arange(1, length + 1)
        source = np.where(places < ends, ids, np.where(places == ends, EOS, PAD))
        batches.append({"source": source.astype(np.int32)})
    about = comparison.write_batches(folder, config, batches)
    return {**about, "target_tokens": count * rows * LENGTH, "rows": rows, "source_length": length}


def tasks() -> Iterator[comparison.Task]:
    """One task for each size."""
    values = flags.FLAGS
    shape = {"rows": values.rows, "length": values.length, "count": values.num_batches}
    for size in values.sizes.split(","):
        yield comparison.Task({"size": size}, functools.partial(write_task, size=size, **shape))


if __name__ == "__main__":
    flags.DEFINE_string("sizes", "3x256,6x512", f"Sizes, with commas, of {', '.join(SIZES)}.")
    flags.DEFINE_integer("rows", 64, "Sentences of a batch.", lower_bound=1)
    flags.DEFINE_integer("length", 30, "Largest number of words of a source.", lower_bound=6)
    flags.DEFINE_integer("num_batches", 1, "Batches of a round.", lower_bound=1)
    comparison.define_flags(COMPARISON, peers="marian,ctranslate2", rounds=7)
    flags.adopt_module_key_flags(comparison)
    app.run(functools.partial(comparison.main, COMPARISON, tasks))
