"""Parts of configs of networks that several papers have."""

import dataclasses
from typing import Literal

from attn_research.layers.normalizing import COUNTING_NORMALIZERS, NORMALIZERS, Normalizer
from experiments.harness.config import fraction, setting


@dataclasses.dataclass(frozen=True)
class StackSizes:
    """The sizes of a stack of Transformer blocks."""

    num_layers: int = setting(4, "Layers.", 1)
    model_dim: int = setting(128, "Width of states and embeddings.", 1)
    mlp_dim: int = setting(512, "Width of the feed-forward layers.", 1)
    num_heads: int = setting(4, "Heads.", 1)

    def sizes(self) -> dict[str, int]:
        """The sizes, by the names that models have for them."""
        return dict(
            num_layers=self.num_layers,
            model_dim=self.model_dim,
            mlp_dim=self.mlp_dim,
            num_heads=self.num_heads,
        )


@dataclasses.dataclass(frozen=True)
class StackConfig(StackSizes):
    """A stack of Transformer blocks."""

    dropout: float = fraction(0.0, "Dropout of each layer's output and of the embeddings.")


@dataclasses.dataclass(frozen=True)
class NormalizerConfig:
    """The normalizer of a network's attention."""

    normalizer: Literal[*NORMALIZERS] = setting("softmax", "Normalizer of the scores of a query.")
    normalizer_keys: int = setting(
        8, "Keys that top_k keeps, or to whose number the bias of sigmoid is fitted.", 1,
        needs={"normalizer": COUNTING_NORMALIZERS},
    )  # fmt: skip

    def make_normalizer(self) -> Normalizer:
        """The normalizer."""
        return NORMALIZERS[self.normalizer](self.normalizer_keys)
