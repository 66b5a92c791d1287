"""Masks by name, and the localities of recurrent decoders: which words a state may attend to.

`MASKS` is the one table of masks that flags and layers read; a new mask is one line of it.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from attn_research.attention import (
    Around,
    Causal,
    Full,
    Gaussian,
    Mask,
    Padding,
    Prefix,
    Segments,
    Window,
    longformer,
)
from attn_research.layers.dense import Dense
from attn_research.layers.normalizing import Normalizer
from attn_research.types import Array, Bool, Float, Int

Initializer = nn.initializers.Initializer
LECUN_NORMAL = nn.initializers.lecun_normal()
# Of a number of positions on either side, for masks that have such.
MASKS: dict[str, Callable[[int], Mask]] = {
    "global": lambda half_width: Full(),
    "local_m": lambda half_width: Window(half_width, half_width),
    "causal": lambda half_width: Causal(),
    # The first position is global, or a sink: all attend to it, and it to all or to its window.
    "longformer": lambda half_width: longformer(half_width),
    "sinks": lambda half_width: Window(half_width, half_width) | Prefix(1),
}


def intersect(*masks: Mask | None) -> Mask:
    """Where all of the masks allow. None and `Full()` are left out, so that plain masks stay so."""
    result = None
    for mask in masks:
        if mask is not None and mask != Full():
            result = mask if result is None else result & mask
    return Full() if result is None else result


def check_layers(mask: Mask, num_layers: int) -> None:
    """ValueError where a mask is one of each layer, and of another number of layers."""
    if mask.num_layers not in (None, num_layers):
        raise ValueError(
            f"ByLayer has {mask.num_layers} masks, and the network {num_layers} layers: give one "
            "for each"
        )


def within_texts(
    mask: Mask, valid: Bool[Array, "B T"] | None, segments: Int[Array, "B T"] | None
) -> Mask:
    """The mask among the tokens of each text: none at padding, where `valid` is false.

    `segments` number the texts of packed rows.
    """
    return intersect(
        mask,
        None if valid is None else Padding(valid),
        None if segments is None else Segments(segments, segments),
    )


def texts_of_rows(segments: Int[Array, "B T"], count: int) -> Bool[Array, "B E T"]:
    """Where the tokens of each of `count` texts of packed rows are; `segments` count from 1."""
    return segments[:, None] == jnp.arange(1, count + 1).reshape(1, -1, 1)


Located = tuple[Mask, Normalizer]


class Positional(nn.Module):
    """A mask over positions, those of states in the target and of words in the source.

    With `Full()` it is global attention, with a window local-m, where p_t = t. Luong, Pham, Manning
    2015, sections 3.1 and 3.2.
    """

    mask: Mask = Full()

    def __call__(
        self, states: Float[Array, "B T D"], valid: Bool[Array, "B S"], normalizer: Normalizer
    ) -> Located:
        return self.mask, normalizer


class Predictive(nn.Module):
    """Local-p: the words within `half_width` of a predicted position, weighted by a Gaussian.

        p_t = S σ(vᵀ tanh(W s_t))   a_t(j) = softmax(e_t)(j) exp(-(j - p_t)² / 2σ²)   σ = D / 2

    Luong et al. 2015, section 3.2; S counts the sentence's words, D is `half_width`.
    """

    half_width: int = 10
    kernel_init: Initializer = LECUN_NORMAL

    @nn.compact
    def __call__(
        self, states: Float[Array, "B T D"], valid: Bool[Array, "B S"], normalizer: Normalizer
    ) -> Located:
        init = self.kernel_init
        hidden = Dense(states.shape[-1], use_bias=False, kernel_init=init, name="hidden")(states)
        place = Dense(1, use_bias=False, kernel_init=init, name="place")(jnp.tanh(hidden))
        length = jnp.sum(valid, axis=-1, keepdims=True)
        center = length * nn.sigmoid(place[..., 0])
        return Around(center, self.half_width), Gaussian(center, self.half_width / 2, normalizer)


MakeLocality = Callable[[int, Initializer | None], nn.Module]


def _positional(make_mask: Callable[[int], Mask]) -> MakeLocality:
    return lambda half_width, kernel_init: Positional(make_mask(half_width))


def _predictive(half_width, kernel_init):
    return Predictive(half_width, kernel_init or LECUN_NORMAL)


LOCALITIES: dict[str, MakeLocality] = {name: _positional(make) for name, make in MASKS.items()}
LOCALITIES["local_p"] = _predictive


def make_locality(name: str, half_width: int, kernel_init: Initializer | None = None) -> nn.Module:
    """The locality of that name. ValueError where the name is unknown."""
    if name not in LOCALITIES:
        raise ValueError(f"locality {name!r} is not one of {', '.join(LOCALITIES)}")
    return LOCALITIES[name](half_width, kernel_init)


# The names for which the half width makes a difference.
WIDE_MASKS = tuple(name for name, make in MASKS.items() if make(1) != make(2))
WIDE_LOCALITIES = tuple(
    name for name in LOCALITIES if make_locality(name, 1) != make_locality(name, 2)
)
