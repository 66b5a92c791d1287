"""Local attention by gathered keys: identities, refusals, and memory linear in length."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    Around,
    Capture,
    Causal,
    Dot,
    Full,
    Gaussian,
    Location,
    Padding,
    Positions,
    Window,
    attend,
)
from tests.attention.explained import chosen
from tests.attention.inputs import local_p, random_arrays

B, T, S, N, K, H, Hv, D = 2, 9, 23, 4, 2, 3, 6, 4


ARRAYS = random_arrays((B, T, N, H), (B, S, K, H), (B, S, K, Hv))
CENTER = jnp.asarray(np.random.default_rng(1).uniform(0, S, (B, T)).astype(np.float32))
jitted = jax.jit(attend, static_argnames=("implementation", "capture"))


@pytest.mark.parametrize("mask", [Window(S, S), Around(CENTER, S)], ids=["local-m", "local-p"])
def test_a_window_larger_than_the_sentence_equals_global_attention(mask):
    local, everywhere = (jitted(*ARRAYS, mask=m, capture="all") for m in (mask, Full()))
    np.testing.assert_array_equal(local.weights, everywhere.weights)
    np.testing.assert_array_equal(local.context, everywhere.context)


def test_weights_of_local_p_sum_to_at_most_1():
    sums = np.asarray(jitted(*ARRAYS, **local_p(CENTER, D), capture="all").weights).sum(-1)
    assert (sums > 0).all() and (sums < 1).all()


def test_the_center_gets_a_gradient_only_through_the_gaussian():
    def loss(center, normalizer):
        options = {"normalizer": normalizer(center)} if normalizer else {}
        return (attend(*ARRAYS, mask=Around(center, D), **options).context ** 2).sum()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    np.testing.assert_array_equal(gradient(CENTER, None), 0)
    assert np.all(gradient(CENTER, lambda center: Gaussian(center, D / 2)) != 0)


def test_gathered_is_chosen_for_windows_of_at_most_half_the_keys():
    def name(mask):
        row = chosen(*ARRAYS, mask=mask)
        assert row.flops
        return row.name

    assert name(Window(5, 5)) == "gathered"  # 11 of 23
    assert name(Window(6, 5)) == "reference"
    assert name(Causal() & Window(100, 100) & Around(CENTER, 5)) == "gathered"


REFUSED = {
    "the mask sets no bound": {"mask": Causal()},
    r"attend to 12 of 23 keys, which is more than half": {"mask": Window(6, 5)},
    "the keys have positions of their own": {"positions": Positions(key=jnp.arange(S))},
    "Location score depends on the index": {"score": Location(jnp.ones((H, S)))},
    "bias is an array over the keys": {"bias": jnp.ones((1, 1, 1, S))},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_unsupported_calls_are_refused(reason):
    options = {"mask": Window(2, 2)} | REFUSED[reason]
    with pytest.raises(NotImplementedError, match=f"^gathered: .*{reason}"):
        attend(*ARRAYS, **options, implementation="gathered")
    assert chosen(*ARRAYS, **options).name == "reference"


def test_all_options_together_equal_the_reference():
    @jax.tree_util.Partial
    def nearer(q_pos, k_pos):
        return -0.5 * jnp.abs(q_pos - k_pos)

    valid = jnp.asarray(np.arange(S) < np.array([[20], [3]]))
    run = functools.partial(
        jitted,
        *ARRAYS,
        score=Dot(),
        mask=Window(3, 2) & Padding(valid) & Around(CENTER, 40),
        bias=nearer,
        normalizer=Gaussian(CENTER, 2.5),
        positions=Positions(query=jnp.asarray([np.arange(T) - 2, 3 * np.arange(T)])),
    )
    for capture in (None, "all", Capture(heads=(3, 0), rows=(8, 1, 2))):
        got, expected = (run(implementation=i, capture=capture) for i in ("gathered", "reference"))
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def attend_locally(*arrays, implementation, half_width=10):
    *arrays, center = arrays
    return attend(*arrays, **local_p(center, half_width), implementation=implementation).context


def temporary_bytes(implementation, length):
    """Of a compiled forward and backward pass; it is not run."""

    def loss(*arrays):
        return (attend_locally(*arrays, implementation=implementation) ** 2).sum()

    array = jax.ShapeDtypeStruct((2, length, 1, 64), jnp.float32)
    shapes = array, array, array, jax.ShapeDtypeStruct((2, length), jnp.float32)
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3))).lower(*shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_is_linear_in_length_and_quadratic_in_the_reference():
    gathered, dense = (
        [temporary_bytes(implementation, length) for length in (1024, 2048)]
        for implementation in ("gathered", "reference")
    )
    assert gathered[1] < 2.2 * gathered[0]
    assert dense[1] > 3.5 * dense[0]


def test_flops_of_a_decoder_step_do_not_grow_with_the_sentence():
    def flops(implementation, length):
        query, key = (jax.ShapeDtypeStruct((2, n, 1, 64), jnp.float32) for n in (1, length))
        center = jax.ShapeDtypeStruct((2, 1), jnp.float32)
        options = {"mask": Around(center, 10), "implementation": implementation}
        return chosen(query, key, key, **options).flops

    assert flops("gathered", 4096) == flops("gathered", 512)
    assert flops("reference", 4096) > 7 * flops("reference", 512)


def test_a_decoder_does_not_store_the_gathered_keys_of_every_step():
    num_steps, length, width = 64, 512, 32

    def loss(state, key):
        def step(state, _):
            center = length * jax.nn.sigmoid(state.sum(-1, keepdims=True))
            seen = attend_locally(state[:, None, None], key, key, center, implementation="gathered")
            return jnp.tanh(state + seen[:, 0, 0]), None

        return jax.lax.scan(step, state, None, length=num_steps)[0].sum()

    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, width), (2, length, 1, width))]
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*shapes).compile()
    gathered = 4 * num_steps * 2 * 21 * width
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * 2 * length * width * 2 + gathered
