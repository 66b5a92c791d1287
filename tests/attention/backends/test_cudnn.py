"""The cuDNN implementation: arguments of `jax.nn.dot_product_attention`, refusals and costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    Causal,
    Dot,
    Dropout,
    Full,
    Gaussian,
    General,
    Location,
    Padding,
    Positions,
    Window,
    attend,
)
from attn_research.attention.backends import cudnn
from tests.attention.explained import verdict

B, T, S, N, K, H = 2, 9, 17, 4, 2, 8


def shape(*size, dtype="bfloat16"):
    return jax.ShapeDtypeStruct(size, dtype)


SHAPES = shape(B, T, N, H), shape(B, S, K, H), shape(B, S, K, H)


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch):
    """Lets a call go through with the same arguments to XLA."""
    monkeypatch.setattr(cudnn, "BACKEND", "xla")


# Masks, whether each is causal, and its window.
BANDS = {
    "full": (Full() & Full(), False, None),
    "causal": (Causal() & Full(), True, None),
    "window": (Window(3, 0), True, (3, 0)),
    "causal window": (Causal() & Window(3, 5) & Window(4, 2), True, (3, 0)),
}


@pytest.mark.parametrize("name", BANDS)
def test_a_band_mask_is_passed_as_window_sizes(name, monkeypatch):
    mask, is_causal, window = BANDS[name]
    given = []
    whole = jax.nn.dot_product_attention

    def recorded(*arrays, **options):
        given.append(options)
        return whole(*arrays, **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", recorded)
    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.standard_normal(s.shape), s.dtype) for s in SHAPES]
    got = attend(*arrays, mask=mask, implementation="cudnn").context
    assert given == [
        dict(scale=H**-0.5, is_causal=is_causal, local_window_size=window, implementation="xla")
    ]
    expected = attend(*arrays, mask=mask, implementation="reference").context
    assert got.dtype == expected.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(got), np.float32(expected), atol=2e-2)


def test_batch_axes_are_merged_and_the_dot_score_has_scale_1(monkeypatch):
    given = []
    monkeypatch.setattr(
        jax.nn,
        "dot_product_attention",
        lambda *arrays, scale, **options: given.append((scale, arrays[0].shape)) or arrays[0],
    )
    for batch in ((), (2, 3)):
        arrays = [jnp.zeros((*batch, n, k, H), jnp.float16) for n, k in ((T, N), (S, K), (S, K))]
        out = attend(*arrays, score=Dot(), implementation="cudnn").context
        assert out.shape == (*batch, T, N, H)
    assert given == [(1.0, (1, T, N, H)), (1.0, (6, T, N, H))]


REFUSED = {
    "bias is not for cuDNN: use tiled": {"bias": shape(1, 1, T, S)},
    "dropout is not for cuDNN: use pallas": {"dropout": Dropout(0.1, jax.random.key(0))},
    "capture is not for cuDNN: use pallas": {"capture": "all"},
    "positions count from 0 in cuDNN: use pallas": {"positions": Positions(jnp.arange(T))},
    "the normalizer Gaussian is no plain softmax: use tiled": {
        "normalizer": Gaussian(shape(B, T), 1.0)
    },
    "it multiplies float32, float32, bfloat16, and cuDNN one dtype of 16 bits: use pallas": {
        "score": General(shape(H, H))
    },
    "head widths are not all one multiple of 8 up to 128: use pallas": {"arrays": (12, 12)},
    "it multiplies float32, float32, bfloat16, and": {"score": Location(shape(H, S))},
    "the mask Padding is no band of positions: use pallas": {
        "mask": Padding(shape(B, S, dtype=bool))
    },
    "the mask And is no band of positions: use pallas": {"mask": Causal() & ~Full()},
    "a window over later keys is not for cuDNN: use pallas": {"mask": Window(3, 1)},
    "a window over fewer keys than queries": {"mask": Window(3, 0), "lengths": (9, 8)},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refusals_name_an_alternative(reason):
    options = dict(REFUSED[reason])
    width, value_width = options.pop("arrays", (H, H))
    queries, keys = options.pop("lengths", (T, S))
    shapes = (
        shape(B, queries, N, width),
        shape(B, keys, K, width),
        shape(B, keys, K, value_width),
    )
    row = verdict("cudnn", *shapes, **options)
    assert row.verdict == "rejected" and row.reason.startswith(reason)


def test_causal_flops_are_about_half_of_full_flops():
    full, causal = (
        verdict("cudnn", *[shape(1, 1024, 8, 64)] * 3, mask=mask) for mask in (Full(), Causal())
    )
    assert full.verdict == "chosen" and full.flops > 4 * 64 * 8 * 1024**2
    assert causal.flops < 0.6 * full.flops
