"""The tables of masks and localities, and masks that hold together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import ByLayer, Causal, Full, Padding, Window, softmax
from attn_research.layers.embeddings import LearnedPositions
from attn_research.layers.masking import (
    LOCALITIES,
    MASKS,
    Positional,
    Predictive,
    check_layers,
    intersect,
    make_locality,
)
from attn_research.models.bert import Bert
from attn_research.models.gpt import GPT


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("global", ["1111", "1111", "1111"]),
        ("local_m", ["1100", "1110", "0111"]),
        ("causal", ["1000", "1100", "1110"]),
        ("longformer", ["1111", "1110", "1111"]),
        ("sinks", ["1100", "1110", "1111"]),
    ],
)
def test_masks_by_name_written_out(name, expected):
    dense = MASKS[name](1).dense(3, 4)
    np.testing.assert_array_equal(dense, [[digit == "1" for digit in row] for row in expected])
    locality = make_locality(name, 1)
    assert locality == Positional(MASKS[name](1))
    states, valid = jnp.ones((2, 3, 5)), jnp.ones((2, 4), bool)
    assert locality.apply({}, states, valid, softmax) == (MASKS[name](1), softmax)


def test_localities_are_all_masks_and_local_p():
    assert set(LOCALITIES) == {*MASKS, "local_p"}
    assert make_locality("local_p", 3) == Predictive(3)
    ones = jax.nn.initializers.ones
    assert make_locality("local_p", 3, ones) == Predictive(3, ones)
    with pytest.raises(ValueError, match="locality 'local' is not one of global, local_m"):
        make_locality("local", 3)


def test_a_mask_for_each_layer_is_of_as_many_as_there_are():
    masks = ByLayer((Window(1, 1), Causal()))
    check_layers(masks & Padding(jnp.ones((2, 3), bool)), 2)
    check_layers(Causal(), 3)
    for network in (
        Bert(11, 3, 8, 16, 2, mask=masks),
        GPT(11, 3, 8, 16, 2, mask=masks, positions=LearnedPositions(9)),
    ):
        with pytest.raises(ValueError, match="ByLayer has 2 masks, and the network 3 layers"):
            network.init(jax.random.key(0), jnp.ones((1, 4), jnp.int32))
    with pytest.raises(ValueError, match="masks of 2 and 3 layers are joined"):
        check_layers(masks & ByLayer((Causal(),) * 3), 2)


def test_intersect_omits_absent_and_full_masks():
    assert intersect() == intersect(None, Full()) == Full()
    assert intersect(Full(), Causal(), None) == Causal()
    both = intersect(Causal(), Window(1, 1))
    np.testing.assert_array_equal(both.dense(4, 4), Window(1, 0).dense(4, 4))
    padding = Padding(jnp.ones((2, 3), bool))
    assert intersect(Full(), padding) is padding
