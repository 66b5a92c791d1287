"""Convolutions: a residual stem for Vision Transformers, and features of the cells of a grid."""

from einops import rearrange, reduce
from flax import linen as nn

from attn_research.layers.contracts import EncodedStates
from attn_research.layers.dense import Dense
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


class CellStem(nn.Module):
    """Feature maps of the cells of a grid over an image, from the image around each cell alone.

    `stages` of a convolution, which halves both sides, a norm and max(0, ·); the first has `width`
    channels, each further one twice as many. The first `overlapping` stages, or all, have 4 x 4
    convolutions, by which a cell of 8 pixels and 3 stages sees 22 pixels, 14 with two and 10 with
    one; the others have 2 x 2. ValueError where the cells do not divide the image.
    """

    width: int
    stages: int
    overlapping: int | None = None

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"]) -> Float[Array, "B Hmap Wmap Cmap"]:
        height, width = images.shape[1:3]
        cell = 2**self.stages
        if height % cell or width % cell:
            raise ValueError(
                f"images of {height} x {width} pixels are not made of cells of {cell}: give "
                "another number of stages, or another size"
            )
        maps = images
        for stage in range(self.stages):
            channels = self.width * 2**stage
            side = 4 if self.overlapping is None or stage < self.overlapping else 2
            maps = nn.Conv(
                channels, (side, side), strides=2, padding=side // 2 - 1, use_bias=False
            )(maps)
            maps = nn.relu(nn.LayerNorm()(maps))  # of the channels of a place, which sees no other
        return maps


class GridEncoder(nn.Module):
    """States of the cells of a grid over an image: `CellStem`, a linear map, and its place.

    The map is to `model_dim`, and places have learned embeddings.
    """

    width: int
    stages: int
    model_dim: int
    overlapping: int | None = None

    @nn.compact
    def read(self, images: Float[Array, "B H W C"], *, train: bool = False) -> EncodedStates:
        """The states of the cells, row by row."""
        del train  # nothing is dropped
        maps = CellStem(self.width, self.stages, self.overlapping, name="cells")(images)
        states = Dense(self.model_dim, name="map")(rearrange(maps, "b h w c -> b (h w) c"))
        init = nn.initializers.normal(0.02)
        places = self.param("places", init, (states.shape[1], self.model_dim))
        return EncodedStates(states + places[None], None, None)
