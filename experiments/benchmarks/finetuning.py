"""Speed of fine-tuning on short texts: packed rows here, dynamic padding in Hugging Face.

python -m experiments.benchmarks.finetuning --init_from=FOLDER --data_dir=DIR --peer_python=PATH

Both systems take the same sentences a step, with BERT of the sizes in FOLDER, dropout 0.1 and
AdamW. This code reads them in packed rows, as `experiments.bert2018.finetuning` draws them; the
peer pads each batch to its longest sentence, as the data collator of its trainer does. The peers
need `pip install -e .[peers]`, in this environment or in that of `--peer_python`. Speed is in real
tokens a second. See `experiments.benchmarks.comparison` for the method.
"""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import app, flags

from experiments.benchmarks import comparison
from experiments.harness.path_flags import define_path

SIZES = ("num_layers", "model_dim", "mlp_dim", "num_heads", "max_length", "vocab_size")


def our_step(config: dict) -> comparison.Run:
    """The training step of this code, from parameters at random."""
    from experiments.bert2018.finetuning.paper import PAPER
    from experiments.harness.paper import resolve
    from experiments.harness.program import Program

    given = {name: config[name] for name in (*SIZES, "data")}
    ours = resolve(PAPER, "fine-tuned", {**given, "schedule": "constant"})
    return comparison.our_training(Program(PAPER, ours, PAPER.task(ours)))


COMPARISON = comparison.Comparison(
    "experiments.benchmarks.finetuning", our_step, {"huggingface": ("finetuning_huggingface", {})}
)


def write_task(folder: Path, data: str, data_dir: str, init_from: str, count: int) -> dict:
    """Batches of packed rows, each with the same sentences one a row, and the sizes."""
    from attn_research.data.batching import all_rows
    from experiments.bert2018.finetuning.paper import PAPER
    from experiments.harness.paper import resolve

    given = {"data": data, "data_dir": data_dir, "init_from": init_from}
    drawn = resolve(PAPER, "fine-tuned", given)
    task, values = PAPER.task(drawn).load(), drawn.values()
    config = {name: values[name] for name in SIZES} | {"data": data}
    batches = [
        batch | sentence_rows(batch)
        for batch, _ in zip(task.train_batches(0, all_rows), range(count), strict=False)
    ]
    about = comparison.write_batches(folder, config, batches)
    real = sum(int(batch["attention_mask"].sum()) for batch in batches)
    padded = sum(batch["attention_mask"].size for batch in batches)
    sentences = sum(len(batch["labels"]) for batch in batches)
    return {**about, "target_tokens": real, "padded": padded, "sentences": sentences}


def sentence_rows(batch: comparison.Batch) -> comparison.Batch:
    """The sentences of packed rows, one a row, padded to the longest."""
    sentences, labels = [], []
    for ids, segments, label in zip(batch["ids"], batch["segments"], batch["label"], strict=True):
        for number in range(segments.max(initial=0)):
            sentences.append(ids[segments == number + 1])
            labels.append(label[number])
    input_ids = np.zeros((len(sentences), max(map(len, sentences))), np.int32)
    for row, sentence in zip(input_ids, sentences, strict=True):
        row[: len(sentence)] = sentence
    lengths = np.array([[len(sentence)] for sentence in sentences])
    mask = np.arange(input_ids.shape[1]) < lengths
    return {"input_ids": input_ids, "attention_mask": mask, "labels": np.array(labels)}


def tasks() -> Iterator[comparison.Task]:
    """One task for each data set."""
    values = flags.FLAGS
    shared = {name: values[name].value for name in ("data_dir", "init_from")}
    for data in values.data:
        work = {"data": data, "count": values.num_batches, **shared}
        yield comparison.Task({"data": data}, functools.partial(write_task, **work))


if __name__ == "__main__":
    flags.DEFINE_list("data", "sst2_phrases", "Data sets, of those of bert2018.finetuning.")
    define_path("data_dir", os.environ.get("ATTN_DATA_DIR", ""), "Folder of data sets.")
    define_path("init_from", "", "Folder of a published BERT, for its sizes and tokenizer.")
    flags.DEFINE_integer("num_batches", 8, "Batches of a round.", lower_bound=1)
    comparison.define_flags(COMPARISON, peers="huggingface", rounds=5)
    flags.adopt_module_key_flags(comparison)
    app.run(functools.partial(comparison.main, COMPARISON, tasks))
