"""Cores as devices: rows divided among them give what one device gives."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.training import cores
from attn_research.training.cores import available_cores, cores_in_use, over_cores, use_cores


@pytest.mark.parametrize(("rows", "used"), [(12, 4), (6, 3), (7, 1), (1, 1), (5, 1)])
def test_rows_are_divided_among_as_many_cores_as_divide_them(monkeypatch, rows, used):
    monkeypatch.setattr(cores, "cores_in_use", lambda: 4)
    x = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    scale = jnp.arange(3.0)
    seen = []

    def function(scale, tree):
        seen.append(len(tree["x"]))
        return tree["x"] * scale[None], {"n": tree["n"] + 1}

    found, other = over_cores(function)(scale, {"x": x, "n": np.arange(rows)})
    assert set(seen) == {rows // used}
    np.testing.assert_array_equal(found, x * np.arange(3.0))
    np.testing.assert_array_equal(other["n"], np.arange(rows) + 1)
    assert len(found.sharding.device_set) == used


def test_sums_are_those_of_all_rows(monkeypatch):
    monkeypatch.setattr(cores, "cores_in_use", lambda: 4)
    x = np.arange(24, dtype=np.float32).reshape(8, 3)
    total = over_cores(lambda _, x: {"sum": jnp.sum(x), "rows": jnp.sum(x[:, 0] >= 0)}, summed=True)
    found = total((), x)
    assert (found["sum"], found["rows"]) == (276, 8)


def test_without_cores_in_use_a_function_is_compiled_for_one_device():
    assert cores_in_use() == 1  # the eight devices of tests are made otherwise
    found = over_cores(lambda scale, x: scale * x)(2.0, np.arange(8.0, dtype=np.float32))
    assert len(found.sharding.device_set) == 1


@pytest.mark.skipif(available_cores() == 1, reason="this machine has one core")
def test_cores_become_devices_of_one_thread():
    code = (
        "import jax, os\n"
        "from attn_research.training.cores import cores_in_use, use_cores\n"
        "made = use_cores(1), cores_in_use()\n"
        "print(made, use_cores(), len(jax.devices()), cores_in_use(), os.environ['XLA_FLAGS'])\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    count = available_cores()
    flag = "--xla_cpu_multi_thread_eigen=false"
    assert done.stdout == f"(1, 1) {count} {count} {count} {flag}\n"


@pytest.mark.skipif(available_cores() == 1, reason="this machine has one core")
def test_cores_cannot_become_devices_once_jax_is_used():
    jax.devices()
    with pytest.raises(RuntimeError, match="jax_num_cpu_devices"):
        use_cores()
    assert cores_in_use() == 1


def test_more_devices_than_cores_are_refused():
    count = available_cores() + 1
    with pytest.raises(ValueError, match=f"{count} devices for {count - 1} cores: give at most"):
        use_cores(count)
    assert jax.config.jax_num_cpu_devices <= 1
