"""The task of copying: batches, loss, and the accuracy of symbols by the distance of the copy."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from attn_research.data.batching import Rows
from attn_research.data.files import write_whole
from attn_research.training.objectives import cross_entropy
from attn_research.training.step import Sums
from attn_research.types import Array, Float, Int, PyTree
from experiments.harness.config import Config, padded_rows
from experiments.harness.task import Response, head_maps, kept_file
from experiments.tasks.copying import data
from experiments.tasks.copying.data import NOTHING, Sequences

SPLITS = {"train": 0, "dev": 1, "test": 2, "sample": 3}


@dataclasses.dataclass(frozen=True)
class CopyingTask:
    """Prediction of symbols that stood before."""

    config: Config

    inputs: ClassVar[str] = "text"
    example: ClassVar[str] = '--text="1 2 1" --attention=map.png'
    about: ClassVar[dict[str, Any]] = {}

    @property
    def vocab_size(self) -> int:
        """The vocabulary size."""
        return data.vocab_size(self.config.task)

    @property
    def steps_per_epoch(self) -> float:
        return float(self.config.train.num_steps)  # no sequence comes twice

    def check(self) -> None:
        part = self.config.task
        if part.data == "duplication" and part.length % 2:
            raise ValueError(f"--length={part.length}: two halves, so give an even number")
        if part.data == "distance" and part.distance >= part.length:
            raise ValueError(f"--distance={part.distance} is not within --length={part.length}")

    def load(self) -> "CopyingTask":
        return self

    def save(self, folder: Path) -> None:
        del folder

    def restore(self, folder: Path) -> "CopyingTask":
        del folder
        return self

    def batch_spec(self) -> PyTree:
        shape = padded_rows(self.config, self.config.task.batch_size), self.config.task.length
        return Sequences(*[jax.ShapeDtypeStruct(shape, jnp.int32)] * 2)

    def init_inputs(self) -> tuple:
        return (jnp.zeros((1, self.config.task.length), jnp.int32),)

    def train_batches(self, start: int, rows: Rows) -> Iterator[PyTree]:
        count = self.config.task.batch_size
        padded = padded_rows(self.config, count)
        around, chosen = [(0, padded - count), (0, 0)], rows(padded)
        while True:
            ids, targets = self._draw("train", start)
            targets = np.pad(targets, around, constant_values=NOTHING)
            yield Sequences(np.pad(ids, around)[chosen], targets[chosen])
            start += 1

    def eval_batches(self, split: str) -> Iterator[PyTree]:
        name = "sample" if split == "train" else split
        return (self._draw(name, number) for number in range(self.config.task.dev_batches))

    def loss(self, network: nn.Module, params, batch, key, *, train: bool) -> Sums:
        logits = network.apply(params, batch.ids, train=train, rngs={"dropout": key}).logits
        valid = batch.targets != NOTHING
        total, count = cross_entropy(logits, jnp.maximum(batch.targets, 0), valid)
        right = (logits.argmax(axis=-1) == batch.targets) & valid
        return Sums(total, count, {"correct": jnp.sum(right, dtype=jnp.float32)})

    def summarize(self, sums: Sums) -> dict[str, float]:
        """The loss, and the accuracy, of a symbol."""
        return {"loss": sums.total / sums.weight, "accuracy": sums.counts["correct"] / sums.weight}

    def evaluators(self) -> tuple:
        return ()

    def readers(self, network: nn.Module) -> dict[str, nn.Module]:
        """The networks that read the test set with the parameters of one, by name."""
        return {"test": network}

    def predict(
        self, networks: Sequence[nn.Module], params: Sequence[PyTree], folder: Path
    ) -> None:
        readers, test = [self.readers(network) for network in networks], self._test()
        for name in readers[0]:
            members = tuple(each[name] for each in readers)
            found = [
                row[places]
                for batch in test
                for row, places in self._predictions(members, params, batch)
            ]
            lines = "".join(" ".join(map(str, row)) + "\n" for row in found)
            write_whole(folder / f"{name}.txt", lines.encode())

    def score(self, folder: Path) -> dict[str, Any]:
        """The accuracy of symbols and of whole sequences.

        Of needles also, for each distance, how many were found and how many there are.
        """
        test = Sequences(*map(np.concatenate, zip(*self._test(), strict=True)))
        paths = sorted(folder.glob("*.txt")) or [kept_file(folder / "test.txt")]
        return {
            "tests": {path.stem: self._score(path, test) for path in paths},
            "predictions": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths},
        }

    def _score(self, path: Path, test: Sequences) -> dict[str, Any]:
        lines = [line.split() for line in path.read_text().splitlines()]
        valid = test.targets != NOTHING
        if [len(line) for line in lines] != valid.sum(axis=1).tolist():
            raise ValueError(f"{path} has not one symbol for each that is predicted")
        found = np.full(test.targets.shape, NOTHING)
        found[valid] = np.concatenate(lines).astype(int)
        right = found == test.targets
        result = {
            "accuracy": round(float(right[valid].mean()), 6),
            "sequences": round(float((right | ~valid).all(axis=1).mean()), 6),
        }
        if self.config.task.data == "needle":
            of_needle = (right & valid).any(axis=1)
            behind = data.needle_distances(test, self.config.task)
            result["by_distance"] = [
                [int(distance), int(of_needle[behind == distance].sum()), int(count)]
                for distance, count in zip(*np.unique(behind, return_counts=True), strict=True)
            ]
        return result

    def respond(
        self, networks: Sequence[nn.Module], params: Sequence[PyTree], inputs: Iterable[str]
    ) -> Iterator[Response]:
        part = self.config.task
        for line in inputs:
            symbols, notes = self._symbols(line)
            place = np.array([0 if part.data == "needle" else len(symbols) - 1])
            sequence = data.make(part, symbols[None], place)
            ((found, places),) = self._predictions(tuple(networks), params, sequence)
            gold = sequence.targets[0][places]
            weights = networks[0].apply(params[0], jnp.asarray(sequence.ids), capture="all").weights
            tokens = [str(i) if i else "|" for i in sequence.ids[0].tolist()]
            yield Response(
                line,
                " ".join(map(str, found[places])),
                {"accuracy": float((found[places] == gold).mean())},
                head_maps(np.asarray(weights)[0], tokens, tokens),
                notes,
            )

    def _symbols(self, line: str) -> tuple[Int[np.ndarray, "S"], list[str]]:
        """The symbols of a line, and remarks; ValueError for what are none."""
        part, needed = self.config.task, data.num_symbols(self.config.task)
        words = line.split()
        if not words or not all(word.isdigit() for word in words):
            raise ValueError(f"{line!r}: give symbols, numbers from 1 to {part.symbols}")
        symbols = np.array([int(word) for word in words])
        if symbols.min() < 1 or symbols.max() > part.symbols or len(symbols) > needed:
            raise ValueError(
                f"give at most {needed} symbols, numbers from 1 to {part.symbols}, and not "
                f"{len(symbols)} from {symbols.min()} to {symbols.max()}"
            )
        if len(symbols) == needed:
            return symbols.astype(np.int32), []
        note = f"repeated up to the {needed} symbols that the network was trained with"
        return np.resize(symbols, needed).astype(np.int32), [note]

    def _predictions(
        self, networks: tuple[nn.Module, ...], params: Sequence[PyTree], batch: Sequences
    ) -> Iterator[tuple[Int[np.ndarray, "T"], Array]]:
        """The most probable symbol of every place, and where a symbol is to be predicted."""
        probs = _mean_probs(networks)(tuple(params), batch.ids)
        found = np.asarray(probs.argmax(axis=-1))
        return zip(found, batch.targets != NOTHING, strict=True)

    def _test(self) -> list[Sequences]:
        """The batches of the test set."""
        return [self._draw("test", number) for number in range(self.config.task.test_batches)]

    def _draw(self, split: str, number: int) -> Sequences:
        part, seed = self.config.task, self.config.train.seed
        # The test set is that of all seeds.
        seed = 0 if split == "test" else seed
        return data.draw(part, (seed, SPLITS[split], number), part.batch_size)


@functools.cache
def _mean_probs(networks: tuple[nn.Module, ...]) -> Callable[..., Float[Array, "B T V"]]:
    """The mean distribution of several networks."""

    def mean_probs(params, ids):
        logits = [n.apply(p, ids).logits for n, p in zip(networks, params, strict=True)]
        return sum(jax.nn.softmax(each.astype(jnp.float32)) for each in logits) / len(networks)

    return jax.jit(mean_probs)
