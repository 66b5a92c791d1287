"""Tensors that are read when they are asked for, and what nobody asked for."""

from pathlib import Path

import numpy as np
import pytest

from attn_research.pretrained.tensors import StoredTensor, Tensors


@pytest.fixture
def made():
    """Three names of two tensors, and the shapes of those that were read."""
    reads = []

    def store(*shape):
        def read():
            reads.append(shape)
            return np.ones(shape, np.float16)

        return StoredTensor(shape, np.dtype(np.float16), read)

    kernel = store(2, 3)
    stored = {"kernel": kernel, "bias": store(5), "tied": kernel}
    return Tensors(stored, Path("folder/weights")), reads


def test_a_tensor_is_read_when_it_is_asked_for(made):
    tensors, reads = made
    assert list(tensors) == ["kernel", "bias", "tied"] and len(tensors) == 3
    assert "bias" in tensors and "other" not in tensors
    assert tensors.shape("bias") == (5,) and tensors.dtype("kernel") == np.float16
    assert reads == []
    assert tensors["bias"].shape == (5,)
    assert reads == [(5,)]


def test_a_tensor_is_unread_until_one_of_its_names_is_asked_for(made):
    tensors, _ = made
    assert tensors.unread() == ("kernel", "bias", "tied")
    tensors["tied"]
    assert tensors.unread() == ("bias",)
    tensors["bias"]
    assert tensors.unread() == ()


@pytest.mark.parametrize("ask", [Tensors.__getitem__, Tensors.shape, Tensors.dtype])
def test_an_unknown_name_is_told_with_the_file(made, ask):
    tensors, _ = made
    with pytest.raises(KeyError, match=r"folder/weights has no tensor 'query'"):
        ask(tensors, "query")
    assert len(tensors.unread()) == 3
