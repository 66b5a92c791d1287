"""Multi-head attention. Vaswani et al. 2017, section 3.2.2."""

from collections.abc import Callable
from typing import Literal

from einops import rearrange
from flax import linen as nn

from attn_research.attention import (
    Attended,
    Capture,
    Dropout,
    Mask,
    Positions,
    Rotation,
    attend,
    softmax,
)
from attn_research.decoding.cache import KeyValues
from attn_research.layers.dense import Dense
from attn_research.layers.normalizing import Normalizer
from attn_research.layers.scoring import Scoring, make_scoring
from attn_research.types import Array, Float


class MultiHeadAttention(nn.Module):
    """Attention of `num_heads` heads over a sequence, its own or another.

        head_i = attend(x W_i^Q, y W_i^K, y W_i^V)   output = concat(head_1, ...) W^O

    Vaswani et al. 2017, section 3.2.2. `head_dim` is d_k and `value_dim` d_v, as d_k where None;
    with `num_kv_heads` groups of heads share keys and values. `use_bias` is of all matrices, or of
    those that it names: "query", "key", "value", "output". `dropout` is on the weights, where
    the paper has none. `input_init` is of the matrices of queries, keys and values, `kernel_init`
    where it is None, as of the output.
    """

    num_heads: int
    head_dim: int
    value_dim: int | None = None
    num_kv_heads: int | None = None
    use_bias: bool | tuple[str, ...] = False
    dropout: float = 0.0
    scoring: Scoring = make_scoring("scaled_dot")
    normalizer: Normalizer = softmax
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    input_init: nn.initializers.Initializer | None = None
    implementation: str | None = None

    def setup(self):
        if self.scoring.features is not None:
            raise ValueError(
                f"a score with projections of {self.scoring.features} features: heads project "
                "queries and keys themselves, so leave features at None"
            )
        self.query, self.key, self.value = self._projections()

    def project(
        self, inputs: Float[Array, "*B S D"], rotation: Rotation | None = None
    ) -> KeyValues:
        """Keys and values of a sequence, for any number of calls; keys are rotated, if they are."""
        return self._key_values(self.key(inputs), self.value(inputs), rotation)

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "*B T D"],
        memory: KeyValues | tuple[Array, ...],
        mask: Mask,
        *,
        positions: Positions | None = None,
        bias: Float[Array, "*#B #N #T #S"] | Callable[..., Array] | None = None,
        rotation: Rotation | None = None,
        train: bool = False,
        capture: Literal["all"] | Capture | None = None,
    ) -> Attended:
        """The output [*B, T, D], and weights [*B, N, T, S] if captured.

        `rotation` is of the queries, at their positions; `project` has that of the keys.
        """
        context, weights = self.attend_heads(
            inputs,
            memory,
            mask,
            positions=positions,
            bias=bias,
            rotation=rotation,
            train=train,
            capture=capture,
        )
        output = self._dense("output", inputs.shape[-1], self.kernel_init, name="output")
        return Attended(output(rearrange(context, "... t n h -> ... t (n h)")), weights)

    def attend_heads(
        self,
        inputs: Float[Array, "*B T D"],
        memory: KeyValues | tuple[Array, ...],
        mask: Mask,
        *,
        rotation: Rotation | None = None,
        **options,
    ) -> Attended:
        """Contexts of the heads [*B, T, N, Hv], and weights if captured."""
        query = rearrange(self.query(inputs), "... t (n h) -> ... t n h", n=self.num_heads)
        query = query if rotation is None else rotation(query)
        return self.attend_projected(query, memory, mask, **options)

    def attend_projected(
        self,
        query: Float[Array, "*B T N H"],
        memory: tuple[Array, Array],
        mask: Mask,
        *,
        train: bool = False,
        **options,
    ) -> Attended:
        """`attend` of the queries of the heads to keys and values."""
        dropout = None
        if train and self.dropout:
            dropout = Dropout(self.dropout, self.make_rng("dropout"))
        return attend(
            query,
            *memory,
            score=self.scoring((self.num_heads,), self.head_dim, self.head_dim),
            mask=mask,
            normalizer=self.normalizer,
            dropout=dropout,
            # `init` sees a few tokens, which may be too few for an implementation.
            implementation=None if self.is_initializing() else self.implementation,
            **options,
        )

    def _projections(self) -> tuple[nn.Dense, nn.Dense, nn.Dense]:
        """The layers of queries, keys and values of all heads."""
        kv_heads = self.num_kv_heads or self.num_heads
        init = self.input_init or self.kernel_init
        return (
            self._dense("query", self.num_heads * self.head_dim, init),
            self._dense("key", kv_heads * self.head_dim, init),
            self._dense("value", kv_heads * (self.value_dim or self.head_dim), init),
        )

    def _key_values(self, keys, values, rotation) -> KeyValues:
        kv_heads = self.num_kv_heads or self.num_heads
        keys, values = (
            rearrange(x, "... s (k h) -> ... s k h", k=kv_heads) for x in (keys, values)
        )
        return KeyValues(keys if rotation is None else rotation(keys), values)

    def _dense(self, part, features, init, name=None):
        use_bias = self.use_bias if isinstance(self.use_bias, bool) else part in self.use_bias
        return Dense(features, use_bias=use_bias, kernel_init=init, name=name)
