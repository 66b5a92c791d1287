"""Training speed of the RNNsearch row beside the same model elsewhere, on the same batches.

python -m experiments.benchmarks.seq2seq_training                      ours and plain PyTorch
python -m experiments.benchmarks.seq2seq_training --peers=torch,joeynmt --peer_python=PATH

The peers need `experiments/benchmarks/requirements-peers.txt`, in this environment or in that of
`--peer_python`. Every contestant is a process of its own that holds the same batches. They take
turns: in a round each trains on all batches once, while the others wait. The figure is the median
over the rounds of non-padding target tokens per second, and of its ratio to ours in the same round.
"""

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from pathlib import Path

import numpy as np
from absl import app, flags

PAD, BOS = 0, 1
PEERS = {
    "torch": ("seq2seq_torch_plain", {}),
    "torch-tuned": ("seq2seq_torch", {}),
    "torch-compiled": ("seq2seq_torch", {"compile": True}),
    "joeynmt": ("seq2seq_joeynmt", {}),
}


def our_step(config: dict, seed: int) -> Callable[[dict[str, np.ndarray]], float]:
    """One training step of this code: Adam, the gradient's norm at most 1."""
    import jax

    from attn_research.training.step import make_state, make_train_step
    from experiments import bahdanau2014, paper

    names = ("hidden", "embedding", "maxout", "alignment", "attention")
    knobs = bahdanau2014.Config(**{name: config[name] for name in names}, schedule="constant")
    model = bahdanau2014.make_model(knobs, (config["source_vocab"], config["target_vocab"]))
    optimizer, key = paper.make_config_optimizer(knobs), jax.random.key(seed)
    state = jax.jit(lambda: make_state(model.init(key), optimizer))()
    train_step = make_train_step(model.loss, optimizer, key)

    def step(batch):
        nonlocal state
        inputs = {name: batch[name] for name in ("source", "target")}
        state, metrics = train_step(state, inputs)
        return float(metrics.sums.total / metrics.sums.weight)

    return step


def make_step(name: str, config: dict) -> Callable[[dict[str, np.ndarray]], float]:
    """The training step of a contestant."""
    if name == "ours":
        return our_step(config, seed=0)
    module, options = PEERS[name]
    return import_module(f"experiments.benchmarks.peers.{module}").make_step(config, 0, **options)


def work(name: str, folder: Path) -> None:
    """A contestant: for each line read, one pass over the batches; writes its seconds and loss."""
    config = json.loads((folder / "config.json").read_text())
    batches = [dict(np.load(path)) for path in sorted(folder.glob("batch*.npz"))]
    step = make_step(name, config)
    for batch in batches * 2:  # every shape is compiled, every buffer allocated
        step(batch)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        losses = [step(batch) for batch in batches]
        print(time.perf_counter() - start, losses[-1], flush=True)


def write_task(folder: Path, hidden: int, data: str, data_dir: str, count: int) -> dict:
    """Batches of 64 as the RNNsearch-50 row draws them, and the sizes; says what they hold."""
    from experiments import bahdanau2014, paper, translation

    given = {"data": data, "data_dir": data_dir, "batching": "sorted", "batch_size": 64}
    knobs = paper.resolve(bahdanau2014.PAPER, "RNNsearch-50", given)
    task = translation.load(knobs)
    source_vocab, target_vocab = (tokenizer.vocab_size for tokenizer in task.tokenizers)
    config = {
        "source_vocab": source_vocab,
        "target_vocab": target_vocab,
        "hidden": hidden,
        "embedding": hidden // 2,
        "maxout": hidden // 2,
        "alignment": hidden,
        "attention": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    batches = translation.make_batches(knobs, task.train)
    tokens = padded = 0
    for number in range(count):
        batch = batches[number]
        target = batch["target"]
        before = np.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
        np.savez(folder / f"batch{number:03d}.npz", **batch, target_in=before)
        tokens, padded = tokens + int((target != PAD).sum()), padded + target.size
    return {**config, "data": data, "batches": count, "target_tokens": tokens, "padded": padded}


def compare(names: Sequence[str], python: str, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each round."""
    workers = {}
    for name in names:
        interpreter = sys.executable if name == "ours" else python
        command = [interpreter, "-m", __spec__.name, f"--worker={name}", f"--folder={folder}"]
        workers[name] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    seconds = {name: [] for name in names}
    try:
        for name, worker in workers.items():
            if worker.stdout.readline() != "ready\n":
                raise ValueError(f"{name} did not start; the lines above say why")
        for _ in range(rounds):
            for name, worker in workers.items():
                worker.stdin.write("go\n")
                worker.stdin.flush()
                seconds[name].append(float(worker.stdout.readline().split()[0]))
    finally:
        for worker in workers.values():
            worker.stdin.close()
            worker.wait()
    return seconds


def _main(argv: Sequence[str]) -> None:
    del argv
    values = flags.FLAGS
    if values.worker:
        work(values.worker, Path(values.folder))
        return
    from experiments.reporting import environment

    names = ["ours", *values.peers.split(",")]
    unknown = set(names[1:]) - PEERS.keys()
    if unknown:
        sys.exit(f"error: --peers={values.peers}: known are {', '.join(PEERS)}")
    rows = []
    for hidden in map(int, values.hidden.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            about = write_task(
                Path(folder), hidden, values.data, values.data_dir, values.num_batches
            )
            seconds = compare(names, values.peer_python, Path(folder), values.rounds)
        for name in names:
            pairs = zip(seconds[name], seconds["ours"], strict=True)
            ratios = [theirs / ours for theirs, ours in pairs]
            rows.append(
                {
                    "contestant": name,
                    "hidden": hidden,
                    "tokens_per_second": round(
                        about["target_tokens"] / statistics.median(seconds[name])
                    ),
                    "times_as_long_as_ours": round(statistics.median(ratios), 3),
                    "seconds": [round(s, 4) for s in seconds[name]],
                    "task": about,
                }
            )
            print(
                f"{name:>15}  hidden {hidden}  {rows[-1]['tokens_per_second']:>7,} tokens/s  "
                f"{rows[-1]['times_as_long_as_ours']:.2f} times as long as ours",
                flush=True,
            )
    result = {
        "command": shlex.join(["python", "-m", __spec__.name, *sys.argv[1:]]),
        "environment": environment() | {"peers": _versions(values.peer_python)},
        "rows": rows,
    }
    if values.output:
        Path(values.output).write_text(json.dumps(result, indent=1) + "\n")


def _versions(python: str) -> dict[str, str]:
    if python == sys.executable:
        found = {each.metadata["Name"]: each.version for each in metadata.distributions()}
    else:
        listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True)
        found = {each["name"]: each["version"] for each in json.loads(listed.stdout)}
    return {name: found[name] for name in ("torch", "joeynmt") if name in found}


if __name__ == "__main__":
    flags.DEFINE_string("hidden", "256,512", "widths to compare")
    flags.DEFINE_string("data", "grammar", "grammar or multi30k")
    flags.DEFINE_string("data_dir", os.environ.get("ATTN_DATA_DIR", ""), "folder of data sets")
    flags.DEFINE_string("peers", "torch", f"of {', '.join(PEERS)}")
    flags.DEFINE_string("peer_python", sys.executable, "the interpreter that has the peers")
    flags.DEFINE_integer("num_batches", 10, "batches in a round", lower_bound=1)
    flags.DEFINE_integer("rounds", 7, "rounds", lower_bound=1)
    flags.DEFINE_string("output", "", "a JSON file for the result")
    flags.DEFINE_string("worker", "", "internal: the contestant this process is")
    flags.DEFINE_string("folder", "", "internal: where its batches are")
    app.run(_main)
