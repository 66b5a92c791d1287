"""The residual network before a Transformer, against sums written out, and cells of a grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.layers.convolution import GridEncoder, ResidualBlock, ResidualStem


def normalized(maps):
    """Each group of 16 channels of an image has mean 0 and variance 1, then max(0, ·)."""
    groups = np.stack(np.split(maps, maps.shape[-1] // 16, axis=-1))  # [G, H, W, 16]
    mean = groups.mean(axis=(1, 2, 3), keepdims=True)
    variance = groups.var(axis=(1, 2, 3), keepdims=True)
    return np.concatenate(np.maximum((groups - mean) / np.sqrt(variance + 1e-6), 0), axis=-1)


def convolved(maps, kernel):
    """A sum over the nine neighbors of every place, nothing beyond the edge."""
    height, width, _ = maps.shape
    padded = np.pad(maps, [(1, 1), (1, 1), (0, 0)])
    neighbors = (
        padded[down : down + height, right : right + width] @ kernel[down, right]
        for down in range(3)
        for right in range(3)
    )
    return sum(neighbors)


def block_output(maps, params):
    """The equation of a block."""
    inner = convolved(normalized(maps), np.asarray(params["Conv_0"]["kernel"]))
    return maps + convolved(normalized(inner), np.asarray(params["Conv_1"]["kernel"]))


def halved(maps):
    """The largest of each 2 x 2 places."""
    corners = [maps[down::2, right::2] for down in range(2) for right in range(2)]
    return np.max(corners, axis=0)


def test_a_residual_block_by_hand():
    maps = jnp.array(np.random.default_rng(0).normal(size=(2, 4, 5, 32)), jnp.float32)
    block = ResidualBlock()
    params = block.init(jax.random.key(0), maps)
    for image, found in zip(maps, block.apply(params, maps), strict=True):
        expected = block_output(np.asarray(image), params["params"])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_residual_stem_by_hand():
    stem = ResidualStem(width=16, stages=3, blocks=2)
    images = jnp.array(np.random.default_rng(0).normal(size=(3, 16, 24, 3)), jnp.float32)
    params = stem.init(jax.random.key(0), images)
    maps = stem.apply(params, images)
    assert maps.shape == (3, 2, 3, 64) and stem.reduction == 8
    for image, found in zip(images, maps, strict=True):
        expected = np.asarray(image)
        for stage in range(3):
            kernel = np.asarray(params["params"][f"Conv_{stage}"]["kernel"])
            expected = halved(convolved(expected, kernel))
            for block in (2 * stage, 2 * stage + 1):
                expected = block_output(expected, params["params"][f"ResidualBlock_{block}"])
        np.testing.assert_allclose(found, normalized(expected), rtol=1e-3, atol=1e-3)
    # No image depends on its batch mates.
    np.testing.assert_allclose(stem.apply(params, images[1:2])[0], maps[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("overlapping", "around"), [(None, 7), (3, 7), (2, 3), (1, 1), (0, 0)])
def test_a_cell_sees_the_pixels_around_it_alone(overlapping, around):
    encoder = GridEncoder(width=4, stages=3, model_dim=6, overlapping=overlapping)
    images = jnp.array(np.random.default_rng(0).normal(size=(1, 40, 48, 3)), jnp.float32)

    def of_cell(images):  # in the third row, the fourth of six
        states, _ = encoder.init_with_output(jax.random.key(0), images, method="read")
        return jnp.sum(states.states[0, 15] ** 2), states.states.shape

    gradient, shape = jax.jit(jax.grad(of_cell, has_aux=True))(images)
    assert shape == (1, 30, 6)
    seen = np.abs(gradient[0]).sum(axis=-1) > 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    # 16 to 23 down and 24 to 31 across, and some pixels around that.
    assert (rows.min(), rows.max()) == (16 - around, 23 + around)
    assert (columns.min(), columns.max()) == (24 - around, 31 + around)
    with pytest.raises(ValueError, match="40 x 44 pixels are not made of cells of 8"):
        jax.eval_shape(of_cell, images[:, :, :44])
