"""Speed of generation by GPT-2's shape, Hugging Face `generate` and CTranslate2.

python -m experiments.benchmarks.generation --peer_python=PATH

All systems read the same prompts of random tokens with the same random weights, and continue each
greedily by the same number of tokens, without an end. The peers need `pip install -e .[peers]`, in
this environment or in that of `--peer_python`. Speed is in generated tokens of all texts a second.
Beside it are the bytes of weights and caches that a step reads at the least, and the memory's speed
as threads read a large array. After each task a line says how many tokens the systems agree on.
See `experiments.benchmarks.comparison` for the method; this code's int8 is a task of its own.
"""

import functools
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from absl import app, flags

from experiments.benchmarks import comparison

SIZES = {
    "small": {"num_layers": 12, "model_dim": 768, "mlp_dim": 3072, "num_heads": 12},
    "tiny": {"num_layers": 2, "model_dim": 32, "mlp_dim": 128, "num_heads": 4},
}
VOCAB = {"small": 50_257, "tiny": 500}
POSITIONS = 1024
OURS = "tokens.ours.npy"


def make_network(config: dict):
    """The decoder of the sizes in a config."""
    from attn_research.layers.embeddings import LearnedPositions
    from attn_research.models.gpt import GPT

    sizes = {name: config[name] for name in ("vocab_size", *SIZES["small"])}
    return GPT(**sizes, positions=LearnedPositions(POSITIONS), attention_bias=True)


def our_generation(config: dict) -> comparison.Run:
    """`attn_research.decoding.generate` with the weights of a folder."""
    from attn_research.decoding import generate
    from attn_research.layers.decoders import Decoder
    from attn_research.layers.row_products import store_by_output
    from attn_research.pretrained import from_checkpoint, read_checkpoint

    network, params = from_checkpoint(read_checkpoint(config["folder"]))
    stored = store_by_output(params, config["weights"])

    def run(batch):
        prompts, num_tokens = batch["prompt"].tolist(), config["num_tokens"]
        found = generate(Decoder((network,)), (stored,), prompts, num_tokens=num_tokens)
        np.save(Path(config["folder"]) / OURS, [each.tokens for each in found])
        return found

    return run


COMPARISON = comparison.Comparison(
    "experiments.benchmarks.generation",
    our_generation,
    {
        "huggingface": ("generation_huggingface", {}),
        "huggingface-static": ("generation_huggingface", {"static": True}),
        "ctranslate2": ("generation_ctranslate2", {}),
        "ctranslate2-int8": ("generation_ctranslate2", {"int8": True}),
    },
    maker="make_generation",
    devices=1,  # rows divided among cores would read all weights once for each core
)


def write_weights(folder: Path, config: dict) -> None:
    """A checkpoint of random weights, whose last token, the peers' end, is never the best."""
    import jax
    import jax.numpy as jnp
    from safetensors.numpy import save_file

    from attn_research.pretrained import to_checkpoint

    network = make_network(config)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = path[-1].key
        values = rng.normal(0, 0.02 if leaf.ndim < 3 else leaf.shape[-2] ** -0.5, leaf.shape)
        values = values + 1.0 if name == "scale" else values
        if name == "embedding":
            values[-1] = 0
        return values.astype(np.float32)

    checkpoint = to_checkpoint(network, jax.tree_util.tree_map_with_path(draw, shapes))
    (folder / "config.json").write_text(json.dumps(checkpoint.config))
    save_file(checkpoint.tensors, folder / "model.safetensors", metadata={"format": "pt"})


def step_bytes(config: dict, rows: int) -> dict[str, int]:
    """The least bytes that a step reads: weights once, and the caches at half of their growth."""
    network = make_network(config)
    width, layers = network.model_dim, network.num_layers
    matrices = layers * (4 * width * width + 2 * width * network.mlp_dim)
    size = {"float32": 4, "int8": 1}[config["weights"]]
    length = config["prompt_length"] + config["num_tokens"] / 2
    return {
        "weights": size * (matrices + network.vocab_size * width),
        "caches": int(2 * 4 * rows * layers * width * length),
    }


def memory_speed() -> float:
    """Bytes a second that all cores read of an array far larger than their caches."""
    parts = np.array_split(np.ones(2**27, np.float32), os.cpu_count() or 1)
    best = float("inf")
    with ThreadPoolExecutor(len(parts)) as pool:
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(np.max, parts))
            best = min(best, time.perf_counter() - start)
    return sum(part.nbytes for part in parts) / best


def write_task(folder: Path, config: dict, rows: int) -> dict:
    """Prompts of random tokens."""
    rng, shape = np.random.default_rng(1), (rows, config["prompt_length"])
    prompt = rng.integers(0, config["vocab_size"] - 1, shape, dtype=np.int32)
    about = comparison.write_batches(folder, config, [{"prompt": prompt}])
    del about["folder"]
    speed = {"step_bytes": step_bytes(config, rows), "memory_bytes_per_second": memory_speed()}
    return {**about, "rows": rows, "target_tokens": rows * config["num_tokens"], **speed}


def tasks() -> Iterator[comparison.Task]:
    """One task for each kind of weights."""
    values = flags.FLAGS
    config = SIZES[values.size] | {"vocab_size": VOCAB[values.size]}
    config |= {"prompt_length": values.prompt_length, "num_tokens": values.num_tokens}
    with tempfile.TemporaryDirectory() as folder:
        write_weights(Path(folder), config)
        for weights in values.weights:
            of_task = config | {"folder": folder, "weights": weights}
            write = functools.partial(write_task, config=of_task, rows=values.rows)
            yield comparison.Task({"size": values.size, "weights": weights}, write)
            _print_agreement(Path(folder))


def _print_agreement(folder: Path) -> None:
    """The share of texts whose tokens are those of this code up to each system's own end."""
    ours = np.load(folder / OURS)
    for path in sorted(folder.glob("tokens.*.npy")):
        if path.name != OURS:
            same = np.cumprod(np.load(path) == ours, axis=1).mean()
            print(f"{path.suffixes[0][1:]}: {same:.1%} of the tokens before the first difference")


def _main(argv: Sequence[str]) -> None:
    del argv
    comparison.main(COMPARISON, tasks)


if __name__ == "__main__":
    flags.DEFINE_enum("size", "small", list(SIZES), "Sizes of the decoder.")
    flags.DEFINE_list("weights", "float32,int8", "Weights of this code, with commas.")
    flags.DEFINE_integer("rows", 8, "Prompts of a batch.", lower_bound=1)
    flags.DEFINE_integer("prompt_length", 32, "Tokens of a prompt.", lower_bound=1)
    flags.DEFINE_integer("num_tokens", 128, "Tokens of a continuation.", lower_bound=1)
    comparison.define_flags(
        COMPARISON, peers="huggingface,huggingface-static,ctranslate2,ctranslate2-int8", rounds=5
    )
    flags.adopt_module_key_flags(comparison)
    app.run(_main)
