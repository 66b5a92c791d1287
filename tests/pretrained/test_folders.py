"""Folders of checkpoints, written and read again."""

import json

import jax
import numpy as np
import pytest

from attn_research.pretrained import load, save
from attn_research.pretrained.family import difference
from tests.pretrained.golden import pretrained


@pytest.mark.parametrize("name", ["gpt2", "t5", "clip"])
def test_what_is_saved_is_loaded(name, tmp_path):
    network, params = pretrained(name)
    save(tmp_path / "new" / "folder", network, params, fields={"bos_token_id": 3})
    config = json.loads((tmp_path / "new" / "folder" / "config.json").read_text())
    assert config["bos_token_id"] == 3
    found = load(tmp_path / "new" / "folder")
    assert difference(found.network, network) is None
    jax.tree.map(np.testing.assert_array_equal, found.params, params)


def test_fields_that_would_be_another_network_are_refused(tmp_path):
    network, params = pretrained("roberta_classes")
    with pytest.raises(ValueError, match=r"fields pad_token_id change first_position"):
        save(tmp_path, network, params, fields={"pad_token_id": 0})
    with pytest.raises(ValueError, match=r"config field twist .* is not known"):
        save(tmp_path, network, params, fields={"twist": 0})
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_weights_is_left_as_it_is(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    network, params = pretrained("gpt2")
    with pytest.raises(ValueError, match=r"has weights in pytorch_model\.bin: name another"):
        save(tmp_path, network, params)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin"]
