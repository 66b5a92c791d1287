"""Parts of configs of networks that several papers have."""

import dataclasses
from typing import Literal

from attn_research.layers.convolution import ResidualStem
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


_STEM = {"stem_stages": ()}


@dataclasses.dataclass(frozen=True)
class StemConfig:
    """The residual network whose feature map a Vision Transformer's patches are of, if any."""

    stem_stages: int = setting(0, "Stages of a residual network before the patches; 0: no stem.", 0)
    stem_width: int = setting(
        64, "Channels of its first stage, twice as many in each further one.", 16, needs=_STEM
    )
    stem_blocks: int = setting(
        1, "Residual blocks, of two convolutions, of each of its stages.", 1, needs=_STEM
    )

    def make_stem(self) -> ResidualStem | None:
        """The stem, or None."""
        if not self.stem_stages:
            return None
        return ResidualStem(self.stem_width, self.stem_stages, self.stem_blocks)
