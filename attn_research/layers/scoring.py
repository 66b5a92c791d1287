"""Scores with parameters, for recurrent memories and for the heads of a Transformer alike.

`SCORINGS` is the one table of scores by name that flags and layers read. A score without parameters
is one line of it, `"cosine": scoring_of(Cosine)`; one with a parameter is a line that gives its
name and axes, as "general" has it.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from attn_research.attention import Additive, Dot, General, Location, ScaledDot
from attn_research.layers.dense import Dense
from attn_research.types import Array, Float

Score = Callable[..., Array]
Initializer = nn.initializers.Initializer
# The axes of a parameter: the width of queries, that of keys, or a number.
Axes = tuple[Literal["query", "key"] | int, ...]
SMALL_NORMAL = nn.initializers.normal(0.001)  # Bahdanau, Cho, Bengio 2014, appendix B.1


def lecun_normal(key, shape, dtype=jnp.float32):
    """LeCun's normal initialization of a matrix [*N, D_in, D_out], or of one for each head."""
    batch = tuple(range(len(shape) - 2))
    init = nn.initializers.variance_scaling(
        1.0, "fan_in", "truncated_normal", in_axis=-2, out_axis=-1, batch_axis=batch
    )
    return init(key, shape, dtype)


def zeros_or_normal(key, shape, dtype=jnp.float32):
    """Zeros for the vector of a memory [H] (Bahdanau 2014); of heads [N, H] normal, H^-1/2."""
    if len(shape) == 1:
        return jnp.zeros(shape, dtype)
    return nn.initializers.normal(shape[-1] ** -0.5)(key, shape, dtype)


class Parameter(NamedTuple):
    """The learned array of a score, and its initialization."""

    name: str
    axes: Axes
    init: Initializer = lecun_normal


class Scoring(nn.Module):
    """A score with its parameter, and the projections of its queries and keys, if it has any.

        e_ij = score(W s_i + b, U h_j)

    `make_score` takes the parameter, if there is one. With `features` None queries and keys come
    projected, as in the heads of `MultiHeadAttention`. Only a memory has W and U of its own.
    """

    make_score: Callable[..., Score]
    parameter: Parameter | None = None
    features: int | None = None
    use_bias: bool = False
    kernel_init: Initializer = lecun_normal

    @property
    def by_location(self) -> bool:
        """Whether a score depends on the index of the key instead of the key."""
        return self.make_score is Location

    def setup(self):
        if self.features is not None:
            init = self.kernel_init
            self.query = Dense(self.features, use_bias=self.use_bias, kernel_init=init)
            self.key = Dense(self.features, use_bias=False, kernel_init=init)

    def project_query(self, states: Float[Array, "*B T D"]) -> Float[Array, "*B T H"]:
        """W s_i + b, or the states where there are no projections."""
        return states if self.features is None else self.query(states)

    def project_keys(self, annotations: Float[Array, "*B S D"]) -> Float[Array, "*B S H"]:
        """U h_j, or the annotations where there are no projections."""
        return annotations if self.features is None else self.key(annotations)

    @nn.compact
    def __call__(self, heads: tuple[int, ...], query_width: int, key_width: int) -> Score:
        """The score. Its parameter has the leading axes `heads`: () for a memory, or (N,)."""
        if self.parameter is None:
            return self.make_score()
        name, axes, init = self.parameter
        widths = {"query": query_width, "key": key_width}
        shape = *heads, *(widths.get(axis, axis) for axis in axes)
        return self.make_score(self.param(name, init, shape))


MakeScoring = Callable[..., Scoring]


def scoring_of(
    make_score: Callable[..., Score],
    *,
    projects: bool = False,
    parameter: str | None = None,
    axes: Axes = (),
    init: Initializer | None = None,
) -> MakeScoring:
    """A score for `SCORINGS`, with projections in a memory if it `projects`.

    `parameter` names its learned array, if it has one, of these axes; without `init` the array
    starts as the matrices of a model do.
    """

    def make(*, features=None, max_length=None, kernel_init=None) -> Scoring:
        matrices = kernel_init or lecun_normal
        learned = None if parameter is None else Parameter(parameter, axes, init or matrices)
        return Scoring(make_score, learned, features if projects else None, kernel_init=matrices)

    return make


def _additive(*, features=None, max_length=None, kernel_init=None) -> Scoring:
    """e_ij = vᵀ tanh(W s_i + b + U h_j).

    Bahdanau, Cho, Bengio 2014, appendix A.1.2, with its initialization; n' is `features`.
    """
    vector, init = Parameter("vector", ("query",), zeros_or_normal), kernel_init or SMALL_NORMAL
    return Scoring(Additive, vector, features, use_bias=True, kernel_init=init)


def _concat(*, features=None, max_length=None, kernel_init=None) -> Scoring:
    """Additive without bias, whose vector starts as its matrices do.

    Luong, Pham, Manning 2015, section 3.1, whose one matrix is [W U].
    """
    vector = Parameter("vector", ("query",), kernel_init or zeros_or_normal)
    return Scoring(Additive, vector, features, kernel_init=kernel_init or SMALL_NORMAL)


def _location(*, features=None, max_length=None, kernel_init=None) -> Scoring:
    """e_i = W s_i: a score for each of `max_length` indices, whatever the keys are.

    Luong, Pham, Manning 2015, section 3.1. Keys past the last index get no weight.
    """
    if max_length is None:
        raise ValueError('the score "location" has a weight for each index: give max_length')
    return Scoring(
        Location, Parameter("weight", ("query", max_length), kernel_init or lecun_normal)
    )


# "dot" and "general" are s_i · h_j and s_iᵀ W h_j of Luong, Pham, Manning 2015, section 3.1;
# "scaled_dot" is (W s_i) · (U h_j) / √features, Vaswani et al. 2017, section 3.2.
SCORINGS: dict[str, MakeScoring] = {
    "additive": _additive,
    "concat": _concat,
    "dot": scoring_of(Dot),
    "scaled_dot": scoring_of(ScaledDot, projects=True),
    "general": scoring_of(General, parameter="weight", axes=("query", "key")),
    "location": _location,
}


def make_scoring(
    name: str,
    *,
    features: int | None = None,
    max_length: int | None = None,
    kernel_init: Initializer | None = None,
) -> Scoring:
    """The score of that name, with its own initialization where `kernel_init` is None.

    `features` is the width of the projections of a memory; heads have None. `max_length` is for
    "location". ValueError where the name is unknown.
    """
    if name not in SCORINGS:
        raise ValueError(f"score {name!r} is not one of {', '.join(SCORINGS)}")
    return SCORINGS[name](features=features, max_length=max_length, kernel_init=kernel_init)


# The names whose score has projections in a memory, of the width `features`.
PROJECTED = tuple(
    name for name in SCORINGS if make_scoring(name, features=1, max_length=1).features is not None
)
