"""What heads that choose keys by content refuse, of each kind."""

import jax
import pytest

from attn_research.attention import Capture as CaptureHeads
from attn_research.attention import Full, sparsemax
from attn_research.layers.lsh import LSHAttention
from attn_research.layers.routing import RoutingAttention
from attn_research.layers.scoring import make_scoring

INPUTS = jax.random.normal(jax.random.key(0), (2, 12, 8))
KINDS = {"no heads share keys": LSHAttention, "every head has its own keys": RoutingAttention}


def call(layer, inputs, mask, **options):
    return layer(inputs, layer.project(inputs), mask, **options)


@pytest.mark.parametrize("own_keys", KINDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_kv_heads=1), None),
        (dict(implementation="tiled"), "has one of its own, so name none"),
        (dict(dropout=0.1), "without dropout of weights"),
        (dict(scoring=make_scoring("dot")), "scores by scaled_dot"),
        (dict(normalizer=sparsemax), "normalizes by softmax"),
    ],
)
def test_what_such_heads_do_not_have_is_refused(own_keys, options, message):
    layer = KINDS[own_keys](2, 4, **options)
    with pytest.raises(ValueError, match=message or own_keys):
        layer.init(jax.random.key(1), INPUTS, Full(), method=call)


@pytest.mark.parametrize("kind", KINDS.values())
def test_caches_biases_and_some_heads_are_refused(kind):
    def bias(q_pos, k_pos):
        return 0.0 * (q_pos - k_pos)

    layer = kind(2, 4)
    params = layer.init(jax.random.key(1), INPUTS, Full(), method=call)
    for options, message in (
        (dict(bias=bias), "without a bias"),
        (dict(capture=CaptureHeads((0,), (0,))), 'give capture="all"'),
    ):
        with pytest.raises(ValueError, match=message):
            layer.apply(params, INPUTS, Full(), method=call, **options)
