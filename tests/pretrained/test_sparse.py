"""Longformer and BigBird: masks of a call and of a length, what is drawn, what is refused."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import (
    BigBird,
    BlockWindow,
    ByHead,
    ByLayer,
    Dense,
    Full,
    Global,
    Window,
    attend,
    big_bird,
)
from attn_research.layers.longformer import with_global_tokens
from attn_research.models.bert import Bert
from attn_research.models.vit import ViT
from attn_research.pretrained import Checkpoint, from_checkpoint, to_checkpoint
from attn_research.pretrained.running import run_network
from tests.pretrained.golden import FOLDER, load, pretrained

BLOCK = 2
TOLERANCE = dict(rtol=1e-5, atol=2e-5)


@functools.cache
def arrays_of(kind):
    """The arrays of longer rows that belong to BigBird's golden file."""
    with np.load(pathlib.Path(FOLDER) / "big_bird.npz", allow_pickle=False) as file:
        names = [name for name in file.files if name.startswith(f"{kind}.")]
        return {name.removeprefix(f"{kind}."): file[name] for name in names}


def assert_equal_outputs(found, expected, valid):
    """Asserts that logits and hidden states, and weights where kept, are equal at real tokens."""
    for name in ("hidden_states", "prediction_logits", "seq_relationship_logits", "attentions"):
        if name not in expected:
            assert name == "attentions"
            continue
        shape = expected[name].shape[:-1]
        rows = valid.reshape(len(valid), *(1,) * (len(shape) - 2), -1)
        real = np.broadcast_to(rows, shape) if len(shape) > 1 else slice(None)
        np.testing.assert_allclose(found[name][real], expected[name][real], **TOLERANCE)


def test_big_bird_with_the_blocks_that_the_original_drew_equals_it():
    sparse, (network, params) = arrays_of("sparse"), pretrained("big_bird")
    ids, valid = jnp.asarray(sparse["input_ids"]), sparse["attention_mask"] > 0
    length, count = ids.shape[1], -(-ids.shape[1] // BLOCK)
    num_layers, num_heads = sparse["blocks"].shape[:2]
    drawn = np.zeros((num_layers, num_heads, count, count), bool)
    np.put_along_axis(drawn[:, :, 1:-1], sparse["blocks"], True, axis=-1)
    drawn = drawn.repeat(BLOCK, -1).repeat(BLOCK, -2)[:, :, :length, :length]
    ends = Global(0, BLOCK) | Global((count - 1) * BLOCK, length)
    random = [ByHead(tuple(Dense(jnp.stack([x] * 2)) for x in heads)) for heads in drawn]
    mask = BlockWindow(BLOCK, 1, 1) | ends | ByLayer(tuple(random))
    run = jax.jit(functools.partial(network.apply, capture="all"))
    positions = jnp.broadcast_to(jnp.arange(length), ids.shape)
    found = run(params, ids, jnp.asarray(valid), positions=positions, mask=mask)
    ours = {
        "hidden_states": found.layers,
        "prediction_logits": found.heads["masked_lm"],
        "seq_relationship_logits": found.heads["next_sentence"],
        "attentions": found.weights,
    }
    assert_equal_outputs(jax.tree.map(np.asarray, ours), sparse, valid)


def test_big_bird_with_full_attention_equals_the_original_and_is_written_as_bert():
    checkpoint, sparse = load("big_bird").checkpoint, arrays_of("sparse")
    config = checkpoint.config | {"attention_type": "original_full"}
    full = from_checkpoint(dataclasses.replace(checkpoint, config=config))
    inputs = {name: sparse[name] for name in ("input_ids", "attention_mask")}
    assert_equal_outputs(run_network(full, inputs), arrays_of("full"), inputs["attention_mask"] > 0)
    assert full.network.mask == Full()
    assert to_checkpoint(*full).config["model_type"] == "bert"


def test_the_mask_of_big_bird_is_that_of_the_length_of_a_row():
    mask = BigBird(2, 1, num_heads=3)
    assert mask.of_length(14) == Full()
    assert mask.of_length(15) == mask.of_length(16) == big_bird(16, 3, block=2, random_blocks=1)
    assert (mask & Window(5, 5)).of_length(14) == Full() & Window(5, 5)
    x = jnp.ones((1, 4, 3, 2))
    with pytest.raises(ValueError, match=r"attend with that of one, mask.of_length\(length\)"):
        attend(x, x, x, mask=mask)
    network, params = pretrained("big_bird")
    assert network.mask == mask
    found = jax.eval_shape(network.apply, params, jnp.zeros((1, 19), jnp.int32))
    assert found.states.shape == (1, 19, 12)


CONFIGS = {
    "an odd window": (
        "longformer_masked_lm", {"attention_window": [2, 3, 2]},
        r"attention_window is \[2, 3, 2\]: an even number is needed, or a list of one for each of",
    ),
    "a window too few": ("longformer_masked_lm", {"attention_window": [2, 2]}, "attention_window"),
    "no window": ("longformer_masked_lm", {"attention_window": None}, "attention_window is None"),
    "another mode": ("longformer_masked_lm", {"attention_mode": "n2"}, "attention_mode is 'n2'"),
    "another pattern": (
        "big_bird", {"attention_type": "sparse"},
        "attention_type is 'sparse': supported is 'block_sparse', 'original_full'",
    ),
    "no biases": ("big_bird", {"use_bias": False}, "use_bias is False: supported is True"),
    "scaled": ("big_bird", {"rescale_embeddings": True}, "rescale_embeddings is True"),
    "a block of none": ("big_bird", {"block_size": 0}, "block_size is 0: an integer from 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFIGS)
def test_configs_are_refused_by_field(case):
    name, changes, message = CONFIGS[case]
    checkpoint = load(name).checkpoint
    with pytest.raises(ValueError, match=message) as error:
        from_checkpoint(dataclasses.replace(checkpoint, config=checkpoint.config | changes))
    assert "\n" not in str(error.value)


def test_heads_that_are_not_there_are_refused_by_tensor():
    for name in ("longformer_masked_lm", "big_bird"):
        checkpoint = load(name).checkpoint
        tensors = checkpoint.tensors | {"qa_outputs.weight": np.ones((2, 12), np.float32)}
        with pytest.raises(ValueError, match=r"no tensor qa_outputs.weight: .* ignore=\('qa_"):
            from_checkpoint(Checkpoint(checkpoint.config, tensors))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            Bert(11, 2, 6, 7, 2, heads=("pooler", "classifier"), mask=BigBird(2, 1, 2)),
            "big_bird: BigBirdForSequenceClassification is not there, or has other layers",
        ),
        (Bert(11, 1, 6, 7, 2, mask=BigBird(2, 1)), "big_bird: no field for mask"),
        (Bert(11, 1, 6, 7, 2, mask=Window(1, 1)), "longformer: the mask .* is no window with glob"),
        (
            ViT(3, (4, 4), 2, 1, 6, 7, 2),
            r'vit: resizing is "bilinear", .* write network.clone\(resizing="bicubic"\)',
        ),
    ],
)
def test_networks_without_a_format_are_refused(network, message):
    with pytest.raises(ValueError, match=f"no format has this network: .*{message}"):
        to_checkpoint(network, {"params": {}})


def test_global_tokens_belong_to_models_that_have_them():
    inputs = load("bert_classes").inputs | {"global_attention_mask": np.ones((2, 11), int)}
    with pytest.raises(ValueError, match="global_attention_mask: this model has no projections"):
        run_network(pretrained("bert_classes"), inputs)
    with pytest.raises(ValueError, match="has 0 kinds of global tokens"):
        with_global_tokens(Window(1, 1), Global(0, 1))
