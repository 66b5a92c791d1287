"""Speed of Longformer and BigBird here, in Hugging Face, and of full attention in PyTorch.

python -m experiments.benchmarks.long_encoders --peer_python=PATH

An encoder of two layers computes the states of a batch of texts of each length and, for a fixed
cotangent of the states, the gradient of all parameters, without dropout. Longformer has a window of
256 tokens and a global first token, BigBird blocks of 64 tokens, three of them random. The peer
`huggingface` is the same kind of encoder there, `sdpa` its BERT with PyTorch's fused attention of
all tokens to all, which is what sparse attention has to be faster than. The peers need `pip install
-e .[peers]`, in this environment or in that of `--peer_python`. Speed is in tokens a second. See
`experiments.benchmarks.comparison` for the method.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from experiments.benchmarks import comparison

KINDS = "longformer", "bigbird"
SIZES = {"vocab_size": 1000, "num_layers": 2, "model_dim": 256, "mlp_dim": 1024, "num_heads": 4}
WINDOW, BLOCK, RANDOM_BLOCKS = 256, 64, 3


def make_network(config: dict):
    """The network of a config."""
    from attn_research.attention import BigBird, longformer
    from attn_research.layers.longformer import LongformerAttention
    from attn_research.layers.multihead import MultiHeadAttention
    from attn_research.models.bert import Bert

    mask, attention = BigBird(BLOCK, RANDOM_BLOCKS, SIZES["num_heads"]), MultiHeadAttention
    if config["kind"] == "longformer":
        mask, attention = longformer(WINDOW // 2), LongformerAttention
    return Bert(**SIZES, max_length=config["length"], mask=mask, attention=attention)


def our_step(config: dict) -> comparison.Run:
    """States and gradients, of a part of the texts on each core."""
    import jax
    import jax.numpy as jnp

    from attn_research.training.cores import over_cores

    network = make_network(config)
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, BLOCK), jnp.int32))

    def loss(params, ids, cotangents):
        return jnp.sum(network.apply(params, ids).states * cotangents)

    grad = over_cores(jax.value_and_grad(loss), summed=True)

    def step(batch):
        total, gradients = jax.block_until_ready(grad(params, batch["ids"], batch["cotangents"]))
        del gradients
        return float(total)

    return step


COMPARISON = comparison.Comparison(
    "experiments.benchmarks.long_encoders",
    our_step,
    {
        "huggingface": ("long_encoders_huggingface", {}),
        "sdpa": ("long_encoders_huggingface", {"kind": "bert"}),
    },
)


def write_task(folder: Path, kind: str, rows: int, length: int) -> dict:
    """A batch of random tokens, and a cotangent of the states."""
    config = {"kind": kind, "length": length, "sizes": SIZES} | {
        "window": WINDOW, "block": BLOCK, "random_blocks": RANDOM_BLOCKS,
    }  # fmt: skip
    drawn = np.random.default_rng(0)
    ids = drawn.integers(5, SIZES["vocab_size"], (rows, length), np.int32)
    cotangents = drawn.standard_normal((rows, length, SIZES["model_dim"]), np.float32)
    about = comparison.write_batches(folder, config, [{"ids": ids, "cotangents": cotangents}])
    return {**about, "target_tokens": rows * length, "rows": rows}


def tasks() -> Iterator[comparison.Task]:
    """One task for each kind and length."""
    values = flags.FLAGS
    for kind in values.kinds:
        for length in map(int, values.lengths):
            write = functools.partial(write_task, kind=kind, rows=values.rows, length=length)
            yield comparison.Task({"kind": kind, "length": length}, write)


def _main(argv: Sequence[str]) -> None:
    del argv
    comparison.main(COMPARISON, tasks)


if __name__ == "__main__":
    flags.DEFINE_list("kinds", ",".join(KINDS), f"Kinds of encoders, of {', '.join(KINDS)}.")
    flags.DEFINE_list("lengths", "1024,2048,4096,8192", "Lengths of texts.")
    flags.DEFINE_integer("rows", 4, "Texts of a batch.", lower_bound=1)
    comparison.define_flags(COMPARISON, peers="huggingface,sdpa", rounds=3)
    flags.adopt_module_key_flags(comparison)
    app.run(_main)
