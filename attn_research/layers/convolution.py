"""Residual convolutional stem, whose feature maps a Vision Transformer reads."""

from einops import reduce
from flax import linen as nn

from attn_research.types import Array, Float

GROUP = 16  # channels that are normalized together


def _normalized(maps):
    """Group normalization and max(0, ·), as a layer of the module that calls it."""
    return nn.relu(nn.GroupNorm(num_groups=None, group_size=GROUP)(maps))


class ResidualBlock(nn.Module):
    """Pre-activation residual block: x + f(x) of two 3 x 3 convolutions after norm and max(0, ·).

    He et al. 2016, "Identity Mappings", figure 4e; norms are over groups of 16 channels of one
    image (Wu and He 2018, equation 7), so that no example depends on its batch mates.
    """

    @nn.compact
    def __call__(self, maps: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        inner = maps
        for _ in range(2):
            inner = nn.Conv(maps.shape[-1], (3, 3), use_bias=False)(_normalized(inner))
        return maps + inner


class ResidualStem(nn.Module):
    """Feature maps of images: `stages` of `blocks` each, from `width` channels on.

    Each stage begins with a 3 x 3 convolution and max pooling, which halves both sides; each but
    the first has twice the channels of the one before. ValueError where `width` is not a multiple
    of 16.
    """

    width: int
    stages: int
    blocks: int = 1

    @property
    def reduction(self) -> int:
        """Pixels, down and across, for each position of the feature map."""
        return 2**self.stages

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.width * 2**stage for stage in range(self.stages))

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"]) -> Float[Array, "B Hmap Wmap Cmap"]:
        if self.width % GROUP:
            raise ValueError(f"a stem of width {self.width}: give a multiple of {GROUP}")
        maps = images
        for width in self.widths:
            maps = nn.Conv(width, (3, 3), use_bias=False)(maps)
            maps = reduce(maps, "b (h p) (w q) c -> b h w c", "max", p=2, q=2)
            for _ in range(self.blocks):
                maps = ResidualBlock()(maps)
        return _normalized(maps)
