"""The Vision Transformer: an image is a sequence of patches, read by the Transformer's encoder.

Dosovitskiy et al. 2020. One batch: images [B, H, W, C] -> patches [B, P, p * p * C], one linear map
of each -> a class token before them and learned positional embeddings -> L pre-norm blocks -> the
class token's state, or the mean over patches, normalized -> logits.
"""

import dataclasses
from typing import ClassVar, Literal, get_args

import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn

from attn_research.attention import Full, Mask, softmax
from attn_research.layers.contracts import Capture, Classified, EncodedStates
from attn_research.layers.convolution import ResidualStem
from attn_research.layers.dense import Dense
from attn_research.layers.embeddings import Resizing, resize_positions
from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.heads import Pooler
from attn_research.layers.masking import check_layers
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.layers.normalizing import Normalizer
from attn_research.layers.remat import Remat
from attn_research.layers.scoring import Scoring, make_scoring
from attn_research.layers.stack import run_layers
from attn_research.layers.transformer import BLOCK_RULES, EncoderBlock
from attn_research.types import Array, Float

# Layers, width, feed-forward width and heads. Ti and S are not in the paper (Touvron et al. 2021).
SIZES = {
    "Ti": (12, 192, 768, 3),
    "S": (12, 384, 1536, 6),
    "B": (12, 768, 3072, 12),
    "L": (24, 1024, 4096, 16),
    "H": (32, 1280, 5120, 16),
}


POOLINGS = "class", "mean", "class_and_mean", "tanh"


class ViT(nn.Module):
    """`num_layers` blocks over the patches of an image, `patch` pixels a side.

    Positional embeddings are of `image_size`; for images of another size they are interpolated, by
    the method `resizing`. With a `stem` the patches are of its feature map, and `patch` counts
    positions of that map (the paper's hybrids, section 3.1). `pooling` "mean" reads the mean of the
    patches and has no class token; "class_and_mean" reads both, side by side, and "tanh" a layer of
    the class token. With `num_classes` 0 there is no head, and what is pooled stands for the
    logits. `attention_bias` is that of `MultiHeadAttention`, `layer_scale` that of `BlockConfig`;
    `embedding_norm` normalizes the embeddings, and `patch_bias` is of the map of patches (CLIP has
    the first, not the second).
    In training `drop_path` is the probability that an image skips a layer. `mask` is of the
    self-attention over class token and patches, `scoring` and `normalizer` of every head.
    """

    num_classes: int
    image_size: tuple[int, int]
    patch: int
    num_layers: int
    model_dim: int
    mlp_dim: int
    num_heads: int
    _: dataclasses.KW_ONLY
    stem: ResidualStem | None = None
    dropout: float = 0.0
    drop_path: float = 0.0
    attention_dropout: float = 0.0
    pooling: Literal["class", "mean", "class_and_mean", "tanh"] = "class"
    activation: str = "gelu_tanh"
    gated: bool = False
    norm_epsilon: float = 1e-6
    layer_scale: float | None = None
    attention_bias: bool | tuple[str, ...] = True
    embedding_norm: bool = False
    patch_bias: bool = True
    resizing: Resizing = "bilinear"
    scoring: Scoring = make_scoring("scaled_dot")
    normalizer: Normalizer = softmax
    mask: Mask = Full()
    implementation: str | None = None
    remat: Remat = "none"
    tensor_rules: ClassVar = BLOCK_RULES

    def setup(self):
        if self.model_dim % self.num_heads:
            raise ValueError(
                f"model_dim {self.model_dim} is not a multiple of num_heads {self.num_heads}"
            )
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling {self.pooling!r} is not one of {', '.join(POOLINGS)}")
        if self.resizing not in get_args(Resizing):
            raise ValueError(
                f"resizing {self.resizing!r} is not one of {', '.join(get_args(Resizing))}"
            )
        height, width = self.grid(self.image_size)
        tokens = self.pooling != "mean"
        self.embed = Dense(self.model_dim, use_bias=self.patch_bias)
        table = height * width + tokens, self.model_dim
        self.positions = self.param("positions", nn.initializers.normal(0.02), table)
        if tokens:
            self.token = self.param("token", nn.initializers.zeros, (self.model_dim,))
        attention = MultiHeadAttention(
            self.num_heads,
            self.model_dim // self.num_heads,
            use_bias=self.attention_bias,
            dropout=self.attention_dropout,
            scoring=self.scoring.clone(parent=None),
            normalizer=self.normalizer,
            implementation=self.implementation,
        )
        config = BlockConfig(
            dropout=self.dropout,
            drop_path=self.drop_path,
            pre_norm=True,
            norm_epsilon=self.norm_epsilon,
            activation=self.activation,
            gated=self.gated,
            layer_scale=self.layer_scale,
        )
        if self.embedding_norm:
            self.first_norm = config.make_norm()
        self.blocks = EncoderBlock(attention, self.mlp_dim, config)
        self.norm = config.make_norm()
        self.drop = nn.Dropout(self.dropout)
        if self.pooling == "tanh":
            self.pooler = Pooler()
        if self.num_classes:
            self.head = Dense(self.num_classes, kernel_init=nn.initializers.zeros)

    def __call__(
        self,
        images: Float[Array, "B H W C"],
        *,
        train: bool = False,
        capture: Capture = None,
    ) -> Classified:
        """Logits [B, V] of a batch of images, and weights [B, L, N, P, P]; the token is first."""
        states, _, weights = self.read(images, train=train, capture=capture)
        pooled = self.pool(states)
        return Classified(self.head(pooled) if self.num_classes else pooled, weights)

    def pool(self, states: Float[Array, "B P D"]) -> Float[Array, "B _"]:
        """What the head reads of normalized states."""
        if self.pooling == "tanh":
            return self.pooler(states)
        if self.pooling == "mean":
            return states.mean(axis=1)
        first = states[:, 0]
        if self.pooling == "class":
            return first
        return jnp.concatenate([first, states[:, 1:].mean(axis=1)], axis=-1)

    def read(
        self,
        images: Float[Array, "B H W C"],
        *,
        train: bool = False,
        capture: Capture = None,
    ) -> EncodedStates:
        """The normalized states of a batch of images; the first is the class token's, if any."""
        grid = self.grid(images.shape[1:3])
        positions = self.positions
        maps = images.astype(positions.dtype)
        if self.stem is not None:
            maps = self.stem(maps)
        patches = rearrange(maps, "b (h p) (w q) c -> b (h w) (p q c)", p=self.patch, q=self.patch)
        states = self.embed(patches)
        if self.pooling != "mean":
            first = jnp.broadcast_to(self.token, (len(states), 1, self.model_dim))
            states = jnp.concatenate([first, states], axis=1)
            positions = jnp.concatenate([positions[:1], self._resize(positions[1:], grid)])
        else:
            positions = self._resize(positions, grid)
        states = states + positions[None]
        states = self.first_norm(states) if self.embedding_norm else states
        states = self.drop(states, deterministic=not train)
        check_layers(self.mask, self.num_layers)

        def run(block, states, layer, capture):
            return block(states, self.mask.of_layer(layer), train=train, capture=capture)

        loop = dict(num_layers=self.num_layers, policy=self.remat)
        last, *captured = run_layers(run, self.blocks, states, capture=capture, **loop)
        return EncodedStates(self.norm(last), *captured)

    def _resize(self, positions, grid):
        return resize_positions(positions, self.grid(self.image_size), grid, self.resizing)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """The number of patches down and across an image of a size in pixels.

        ValueError where patches do not divide it.
        """
        height, width = size
        side = self.patch * (self.stem.reduction if self.stem is not None else 1)
        if height % side or width % side:
            raise ValueError(
                f"images of {height} x {width} pixels are not made of patches of {side}: "
                "give a --patch, or with a stem fewer --stem_stages, that divides both"
            )
        return height // side, width // side
