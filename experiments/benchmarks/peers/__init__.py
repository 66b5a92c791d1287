"""Training and search by other libraries, behind `make_step(config, seed)` or `make_search`.

A config of RNNsearch is {"source_vocab", "target_vocab", "hidden", "embedding", "maxout",
"alignment", "attention"}: the sizes n, m, l and n' of Bahdanau, Cho, Bengio 2014, and whether it
has attention. One of the Transformer has the names of our settings. A batch is {"source" [B, S],
"target" [B, T], "target_in" [B, T]} of int32 ids, padded with PAD. A step takes a batch, makes one
update (mean cross-entropy of the words and end symbols, norm of the gradient clipped at 1, Adam at
1e-3) and returns the loss. No peer of PyTorch imports JAX.
"""

from collections.abc import Callable

import numpy as np

PAD, BOS, EOS = 0, 1, 2
LEARNING_RATE = 1e-3
MAX_NORM = 1.0
SMALL = {
    "source_vocab": 70,
    "target_vocab": 60,
    "hidden": 32,
    "embedding": 24,
    "maxout": 16,
    "alignment": 20,
    "attention": True,
}
SMALL_TRANSFORMER = {
    "vocab_size": 60,
    "num_layers": 2,
    "model_dim": 32,
    "mlp_dim": 64,
    "num_heads": 4,
}

Batch = dict[str, np.ndarray]
Step = Callable[[Batch], float]
Generation = Callable[[Batch], np.ndarray]


def check_search(make_search: Callable[[dict, int], Callable[[Batch], np.ndarray]]) -> None:
    """Checks a small search: equal sources give equal outputs."""
    batch = {"source": np.full((3, 7), 5, np.int32)}
    found = make_search(SMALL_TRANSFORMER | {"beam_size": 4}, 0)(batch)
    assert (found[0] == found[1]).all()
    print(found[0])


def missing(error: ModuleNotFoundError, importer: str) -> BaseException:
    """The error for a missing package, on one line in a program as well."""
    message = f"{error.name} is not installed: pip install -e .[peers]"
    if importer == "__main__":
        return SystemExit(message)
    return ModuleNotFoundError(message, name=error.name)


def check(make_step: Callable[..., Step], config: dict | None = None, **options) -> None:
    """Checks training on one small batch: the loss starts near ln V and falls."""
    config = SMALL | (config or {})
    batch = _copy_batch(rows=8, length=11, vocab=60)
    step = make_step(config, 0, **options)
    losses = [step(batch) for _ in range(60)]
    assert abs(losses[0] - np.log(60)) < 1, losses[0]
    assert losses[-1] < 0.8 * losses[0], losses
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")


def cut(batch: Batch, columns: bool = True) -> tuple:
    """Source, target_in and target as tensors, without empty rows and, if `columns`, columns."""
    import torch

    rows = (batch["source"] != PAD).any(axis=1)

    def kept(name):
        return (batch[name] != PAD).any(axis=0) if columns else slice(None)

    sides = {"source": kept("source"), "target_in": kept("target"), "target": kept("target")}
    parts = (np.ascontiguousarray(batch[name][rows][:, side]) for name, side in sides.items())
    return tuple(torch.from_numpy(part).long() for part in parts)


def _copy_batch(rows, length, vocab):
    """A batch of sentences to copy, of different lengths; the last row is empty."""
    rng = np.random.default_rng(0)
    target = rng.integers(EOS + 2, vocab, (rows, length), dtype=np.int32)
    ends = rng.integers(2, length - 1, (rows, 1))
    index = np.arange(length)
    target = np.where(index < ends, target, np.where(index == ends, EOS, PAD)).astype(np.int32)
    target[-1] = PAD
    first = np.full((rows, 1), BOS, np.int32)
    target_in = np.concatenate([first, target[:, :-1]], axis=1)
    return {"source": target, "target": target, "target_in": target_in}
