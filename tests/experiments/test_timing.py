"""Timing of calls: one program makes every call, in sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import idle, timing
from experiments.benchmarks.timing import repeated


def test_no_call_of_a_program_is_optimized_away():
    def function(x, y):
        return jnp.sin(x) @ y, x

    x, y = jnp.full((3, 3), 0.5), jnp.full((3, 3), 0.25)
    before, result = [x, y], function(x, y)
    for _ in range(3):
        before = [x.at[0, 0].set(result[0][0, 0]) for x in before]
        result = function(*before)
    found = jax.jit(repeated(function, 4))(x, y)
    jax.tree.map(np.testing.assert_array_almost_equal, found, result)
    assert repeated(function, 1) is function
    # Nothing of a call stands outside the loop but what the first one is.
    text = jax.jit(repeated(function, 4)).lower(x, y).compile().as_text()
    assert text.count(" sine(") == 2


def test_speeds_are_not_measured_beside_other_work(monkeypatch, tmp_path):
    stat = tmp_path / "stat"
    ticks = iter([(0, 0, 0, 0, 0, 0, 0, 0), (50, 10, 20, 100, 20, 0, 0, 0)] * 2)

    def tick(*_):
        stat.write_text(f"cpu  {' '.join(map(str, next(ticks)))} 0 0\ncpu0 1 2 3 4\n")

    tick()
    monkeypatch.setattr(idle, "STAT", stat)
    monkeypatch.setattr(idle.time, "sleep", tick)
    assert idle.idle_share() == 0.6
    tick()
    with pytest.raises(ValueError, match="other work uses 40% of this machine's processors"):
        idle.check_idle()
    monkeypatch.setattr(idle, "STAT", tmp_path / "nowhere")
    assert idle.check_idle() is None


@pytest.mark.parametrize(("batch", "axes"), [(4, ("cores",)), (1, (None, None, "cores"))])
def test_arrays_are_divided_among_cores_by_batch_or_by_heads(monkeypatch, batch, axes):
    monkeypatch.setattr(timing, "cores_in_use", lambda: 2)
    monkeypatch.setattr(timing.jax, "devices", lambda: jax.local_devices()[:2])
    sharding = timing._over_cores([jnp.zeros((batch, 3, 2, 5))])
    assert tuple(sharding.spec) == axes
