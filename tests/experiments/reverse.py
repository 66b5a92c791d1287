"""A task of its own, sequences of digits to be reversed, and a paper about it; for tests."""

import dataclasses
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from attn_research.attention import attend
from attn_research.data.files import write_whole
from attn_research.training.objectives import cross_entropy
from attn_research.training.step import Sums
from attn_research.viewing.tables import Column, Table
from experiments.harness.config import Config, OptimizerConfig, TrainConfig, knob
from experiments.harness.paper import Paper, Row, Scale
from experiments.harness.results import cell, read_results, write_tables
from experiments.harness.task import AttentionMap, Response


@dataclasses.dataclass(frozen=True)
class ReverseConfig:
    """Digits."""

    length: int = knob(6, "Digits of a sequence.", 1)
    batch_size: int = knob(32, "Sequences of a batch.", 1)


@dataclasses.dataclass(frozen=True)
class ReverseTask:
    """Reversal of sequences of digits."""

    config: Config
    inputs = "text"
    steps_per_epoch = 100.0

    @property
    def about(self):
        return {"sha256": {"test": [hashlib.sha256(self._draw("test").tobytes()).hexdigest()]}}

    def load(self):
        return self

    def save(self, folder):
        pass

    def restore(self, folder):
        return self

    def _draw(self, *place):
        part, seed = self.config.task, [self.config.train.seed, *map(hash_name, place)]
        return np.random.default_rng(seed).integers(0, 10, (part.batch_size, part.length))

    def batch_spec(self):
        part = self.config.task
        return jax.ShapeDtypeStruct((part.batch_size, part.length), jnp.int32)

    def init_inputs(self):
        return (jnp.zeros((1, self.config.task.length), jnp.int32),)

    def train_batches(self, start, rows):
        while True:
            yield self._draw("train", start)[rows(self.config.task.batch_size)].astype(np.int32)
            start += 1

    def eval_batches(self, split):
        yield self._draw(split).astype(np.int32)

    def loss(self, network, params, batch, key, *, train):
        logits, _ = network.apply(params, batch)
        right = (logits.argmax(-1) == batch[:, ::-1]).sum(dtype=jnp.float32)
        return Sums(*cross_entropy(logits, batch[:, ::-1], batch >= 0), {"correct": right})

    def summarize(self, sums):
        return {"loss": sums.total / sums.weight, "accuracy": sums.counts["correct"] / sums.weight}

    def predict(self, networks, params, folder):
        said = networks[0].apply(params[0], self._draw("test"))[0].argmax(-1)
        lines = ["".join(map(str, row)) for row in np.asarray(said)]
        write_whole(folder / "test.txt", "\n".join(lines).encode())

    def score(self, folder):
        said = [list(map(int, line)) for line in (folder / "test.txt").read_text().split()]
        return {"accuracy": float((np.array(said) == self._draw("test")[:, ::-1]).mean())}

    def respond(self, networks, params, inputs):
        for line in inputs:
            logits, weights = networks[0].apply(params[0], np.array([list(map(int, line))]))
            said = "".join(map(str, np.asarray(logits.argmax(-1))[0]))
            maps = {"alignment": AttentionMap(np.asarray(weights[0, 0]), said, line)}
            yield Response(line, said, {"best": float(logits.max())}, maps)


def hash_name(place):
    return place if isinstance(place, int) else sum(map(ord, place))


class Reverser(nn.Module):
    """A query for each position, which attends to the positions of the input."""

    width: int

    @nn.compact
    def __call__(self, ids):
        places = self.param("places", nn.initializers.normal(0.3), (ids.shape[1], self.width))
        places = jnp.broadcast_to(places, (len(ids), *places.shape))
        query, key = (nn.Dense(self.width, name=name)(places) for name in ("query", "key"))
        value = nn.Embed(10, self.width)(ids)
        heads = (x[:, :, None] for x in (query, key, value))
        context, weights = attend(*heads, capture="all")
        return nn.Dense(10)(context[:, :, 0]), weights


@dataclasses.dataclass(frozen=True)
class ReverserConfig:
    """The network."""

    width: int = knob(16, "Width of embeddings.", 1)


def report(folder, paper):
    results = read_results(folder, paper.rows)
    rows = [
        {"model": row, "accuracy": cell([run["scores"]["accuracy"] for run in runs])}
        for row, runs in results.items()
    ]
    columns = [Column("model", ""), Column("accuracy", ".3f")]
    write_tables(folder, paper.title, {"Reversal": Table(columns, rows)}, results)


PAPER = Paper(
    name="reverse",
    title="Reversal",
    config=Config(
        train=TrainConfig(num_steps=300, eval_every=100, save_every=100, best_by="+accuracy"),
        optimizer=OptimizerConfig(learning_rate=0.02),
        task=ReverseConfig(),
        model=ReverserConfig(),
    ),
    rows={"narrow": Row({"width": 2}), "wide": Row()},
    default_row="wide",
    scales={"tiny": Scale({"num_steps": 4, "eval_every": 2, "save_every": 2})},
    task=ReverseTask,
    network=lambda config, task: Reverser(config.model.width),
    report=report,
    example="--text=012345",
)
