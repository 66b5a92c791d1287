"""Parity with the original library: what differs is found, and where it begins."""

import jax
import numpy as np
import pytest

from attn_research.pretrained import parity
from attn_research.pretrained.running import run_network
from tests.pretrained.golden import load, pretrained


def compare(name, change=lambda params: params, **network):
    golden, original = load(name), pretrained(name)
    changed = original._replace(
        network=original.network.clone(**network), params=change(original.params)
    )
    found = run_network(changed, golden.inputs)
    rows = list(parity.differences(found, golden.outputs, golden.inputs))
    return {row.name: row for row in rows}, parity.first_departure(
        found, golden.outputs, golden.inputs
    )


@pytest.mark.parametrize("name", ["bert_pretraining", "gpt2", "llama"])
def test_equal_outputs_hold(name):
    rows, departure = compare(name)
    assert set(rows) == set(load(name).outputs) and departure is None
    assert all(row.holds and row.largest < 2e-5 for row in rows.values())


def scale(word):
    """Parameters in which what a path ends with is 1.5 times as large."""

    def change(params):
        return jax.tree_util.tree_map_with_path(
            lambda path, x: x * 1.5 if jax.tree_util.keystr(path).endswith(word) else x, params
        )

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (scale("['words']['embedding']"), "the embeddings: a tokenizer"),
        (scale("['query']['kernel']"), "the attention weights of block 0: the mask, the scale"),
        (scale("['mlp']['output']['kernel']"), "the states after block 0: .* the activation"),
    ],
)
def test_the_first_part_that_departs_is_named(change, message):
    rows, departure = compare("bert_pretraining", change)
    assert not rows["hidden_states"].holds
    assert departure.startswith(message.partition(": .* ")[0])


def test_positions_of_another_grid_that_depart_are_named():
    rows, departure = compare("dinov2", resizing="bilinear")
    assert not rows["hidden_states"].holds
    assert departure.startswith("the embeddings: the order of a patch's pixels, positions of")


def test_one_layer_can_be_named_and_wrong_names_are_refused():
    golden, model = load("gpt2"), pretrained("gpt2")
    found = run_network(model, golden.inputs)
    ids = golden.inputs["input_ids"]
    one = {"hidden_states.2": golden.outputs["hidden_states"][:, 2]}
    (row,) = parity.differences(found, one, golden.inputs)
    assert row.holds and row.name == "hidden_states.2"
    for name, reason in (
        ("hidden_states.9", "numbers from 0 to 3"),
        ("past", "has no output past"),
    ):
        with pytest.raises(ValueError, match=reason):
            list(parity.differences(found, {name: ids}, golden.inputs))
    with pytest.raises(ValueError, match="logits has shape"):
        list(parity.differences(found, {"logits": ids}, golden.inputs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_values": np.zeros((2, 3))}, "no input is called pixel_values"),
        ({"input_ids": np.full((2, 11), 29)}, "input_ids holds 29, and the model has 29: 0 to 28"),
        ({"input_ids": np.zeros((2, 11))}, "give integers"),
        ({"token_type_ids": np.full((2, 11), -1)}, "token_type_ids holds -1"),
    ],
)
def test_wrong_inputs_are_named(change, message):
    inputs = load("bert_pretraining").inputs | change
    with pytest.raises(ValueError, match=message):
        run_network(pretrained("bert_pretraining"), inputs)


def test_a_difference_is_of_real_tokens_alone():
    inputs = {"attention_mask": np.array([[True, False]])}
    wanted = np.zeros((1, 2, 3))
    wrong = np.zeros((1, 2, 3))
    wrong[0, 1] = 7
    (row,) = parity.differences({"logits": wrong}, {"logits": wanted}, inputs)
    assert row.holds and row.largest == 0
    wrong[0, 0, 2] = 3e-4
    (row,) = parity.differences({"logits": wrong}, {"logits": wanted}, inputs)
    assert (row.holds, row.place) == (False, (0, 0, 2))
