"""Speed of a forward and a backward pass of GPT-2's and BERT's shape here and in Hugging Face.

python -m experiments.benchmarks.language_training --peer_python=PATH

Both systems compute the mean loss of the same batches of random tokens, of every token, and the
gradient of all parameters, without dropout and without an optimizer. The peers need
`pip install -e .[peers]`, in this environment or in that of `--peer_python`. Speed is in tokens a
second. See `experiments.benchmarks.comparison` for the method.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from experiments.benchmarks import comparison

BASE = {"num_layers": 12, "model_dim": 768, "mlp_dim": 3072, "num_heads": 12}
TINY = {"num_layers": 2, "model_dim": 32, "mlp_dim": 64, "num_heads": 4, "vocab_size": 500}
MODELS = {
    "gpt2-small": {"kind": "gpt", "vocab_size": 50_257, **BASE},
    "bert-base": {"kind": "bert", "vocab_size": 30_522, **BASE},
    "gpt-tiny": {"kind": "gpt", **TINY},
    "bert-tiny": {"kind": "bert", **TINY},
}
POSITIONS = {"gpt": 1024, "bert": 512}


def make_network(config: dict):
    """The network of a config."""
    from attn_research.layers.embeddings import LearnedPositions
    from attn_research.models.bert import Bert
    from attn_research.models.gpt import GPT

    sizes = {name: config[name] for name in ("vocab_size", *BASE)}
    if config["kind"] == "bert":
        return Bert(**sizes, heads=("masked_lm",))
    positions = LearnedPositions(POSITIONS["gpt"])
    return GPT(**sizes, positions=positions, attention_bias=True)


def our_step(config: dict) -> comparison.Run:
    """Loss and gradients, of a part of the rows on each core."""
    import jax
    import jax.numpy as jnp

    from attn_research.training.cores import over_cores
    from attn_research.training.objectives import chunked_cross_entropy

    network = make_network(config)
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    bert = config["kind"] == "bert"

    def loss(params, ids, targets):
        found = network.apply(params, ids, method=None if bert else "read")
        method = "word_logits" if bert else "logits"

        def logits_of(states):
            return network.apply(params, states, method=method)

        return chunked_cross_entropy(logits_of, found.states, targets, targets >= 0)[0]

    grad = over_cores(jax.value_and_grad(loss), summed=True)

    def step(batch):
        total, gradients = jax.block_until_ready(grad(params, batch["ids"], batch["targets"]))
        del gradients
        return float(total) / batch["targets"].size

    return step


COMPARISON = comparison.Comparison(
    "experiments.benchmarks.language_training",
    our_step,
    {"huggingface": ("language_huggingface", {})},
)


def write_task(folder: Path, model: str, rows: int, length: int) -> dict:
    """A batch of random tokens, each of which is predicted: by GPT from those before it."""
    config = MODELS[model]
    ids = np.random.default_rng(0).integers(0, config["vocab_size"], (rows, length + 1), np.int32)
    about = comparison.write_batches(folder, config, [{"ids": ids[:, :-1], "targets": ids[:, 1:]}])
    return {**about, "target_tokens": rows * length, "rows": rows, "length": length}


def tasks() -> Iterator[comparison.Task]:
    """One task for each model."""
    values = flags.FLAGS
    for model in values.models:
        work = {"model": model, "rows": values.rows, "length": values.length}
        yield comparison.Task({"model": model}, functools.partial(write_task, **work))


def _main(argv: Sequence[str]) -> None:
    del argv
    comparison.main(COMPARISON, tasks)


if __name__ == "__main__":
    flags.DEFINE_list("models", "gpt2-small,bert-base", f"Models, of {', '.join(MODELS)}.")
    flags.DEFINE_integer("rows", 8, "Texts of a batch.", lower_bound=1)
    flags.DEFINE_integer("length", 128, "Tokens of a text.", lower_bound=2)
    comparison.define_flags(COMPARISON, peers="huggingface", rounds=5)
    flags.adopt_module_key_flags(comparison)
    app.run(_main)
