"""The config of copying: sequences and batches."""

import dataclasses
from typing import Literal

from experiments.harness.config import setting

KINDS = ("duplication", "distance", "needle")


@dataclasses.dataclass(frozen=True)
class CopyingConfig:
    """Copying."""

    data: Literal[*KINDS] = setting(
        "duplication",
        "Sequences, drawn at random: a word of symbols twice, of which the second is predicted; "
        "symbols, each predicted again --distance tokens later; or symbols of which one, the "
        "needle, has an id of its own and is predicted at the end.",
    )
    symbols: int = setting(127, "Symbols.", 2)
    length: int = setting(256, "Tokens of a sequence.", 4)
    distance: int = setting(
        64, "Tokens between a symbol and its copy.", 1, needs={"data": ("distance",)}
    )
    batch_size: int = setting(32, "Sequences of a batch.", 1)
    dev_batches: int = setting(2, "Batches of the development set.", 1)
    test_batches: int = setting(8, "Batches of the test set.", 1)


# Values of scale tiny, of a decoder too.
TINY = dict(
    length=16, symbols=5, batch_size=8, dev_batches=1, test_batches=2, model_dim=16, mlp_dim=16,
    num_heads=2, num_steps=12, eval_every=6, save_every=6, warmup_steps=2,
)  # fmt: skip
