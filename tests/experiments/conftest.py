"""Whole runs compile much and compute little: what XLA would optimize is not worth the wait."""

import jax
import pytest


@pytest.fixture(scope="package", autouse=True)
def without_most_optimizations():
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
