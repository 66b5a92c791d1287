"""Published architectures: equal to the original library, and written as it writes them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.decoding import generate
from attn_research.layers.decoders import Decoder
from attn_research.pretrained import FAMILIES, from_checkpoint, to_checkpoint
from attn_research.pretrained.family import difference
from attn_research.pretrained.parity import run_network
from tests.pretrained.golden import NAMES, load, pretrained

TOLERANCE = dict(rtol=1e-5, atol=2e-5)


def test_there_are_golden_arrays_of_every_family():
    assert {load(name).checkpoint.config["model_type"] for name in NAMES} == set(FAMILIES)


@pytest.mark.parametrize("name", NAMES)
def test_layers_weights_and_logits_equal_those_of_the_original(name):
    golden = load(name)
    found = run_network(pretrained(name), golden.inputs)
    real = golden.inputs["attention_mask"].astype(bool)
    assert any(kind.endswith("logits") for kind in golden.outputs)
    for kind, expected in golden.outputs.items():
        array = found[kind]
        assert array.shape == expected.shape
        places = slice(None)
        if array.ndim > 2:  # real tokens, which the axis before the last counts
            rows = real.reshape(len(real), *(1,) * (array.ndim - 3), -1)
            places = np.broadcast_to(rows, array.shape[:-1])
        np.testing.assert_allclose(array[places], expected[places], **TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_what_was_read(name):
    checkpoint, (network, params) = load(name).checkpoint, pretrained(name)
    written = to_checkpoint(network, params)
    tied = FAMILIES[checkpoint.config["model_type"]].tied(network)
    assert set(written.tensors) == set(checkpoint.tensors) - set(tied)
    for tensor, array in written.tensors.items():
        np.testing.assert_array_equal(array, checkpoint.tensors[tensor], err_msg=tensor)
        assert array.dtype == np.float32
    for field, value in written.config.items():
        if field in checkpoint.config and field not in ("id2label", "label2id"):
            default = checkpoint.config[field]
            dropout = checkpoint.config.get("hidden_dropout_prob")
            assert value == (dropout if default is None else default), field
    again = from_checkpoint(written)
    assert difference(again.network, network) is None
    jax.tree.map(np.testing.assert_array_equal, again.params, params)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_prompts_of_unequal_lengths_in_one_batch_continue_as_each_alone(name):
    prompts, (network, params) = load(name).prompts, pretrained(name)
    found = generate(
        Decoder((network,)),
        (params,),
        [tokens[:length].tolist() for length, tokens in prompts],
        num_tokens=len(prompts[0][1]) - prompts[0][0],
        chunk=3,  # the first chunk is nothing but padding in some rows
    )
    for (length, tokens), each in zip(prompts, found, strict=True):
        np.testing.assert_array_equal(each.tokens, tokens[length:])


def test_a_trunk_alone_is_read_with_and_without_its_prefix():
    golden, (_, params) = load("bert_pretraining"), pretrained("bert_pretraining")
    trunk = {k: v for k, v in golden.checkpoint.tensors.items() if k.startswith("bert.")}
    named = from_checkpoint(dataclasses.replace(golden.checkpoint, tensors=trunk))
    bare = {name.removeprefix("bert."): array for name, array in trunk.items()}
    bare["embeddings.position_ids"] = np.arange(17)[None]
    bare |= {  # as the oldest checkpoints have them
        name.replace("LayerNorm.weight", "LayerNorm.gamma"): bare.pop(name)
        for name in list(bare)
        if name.endswith("LayerNorm.weight")
    }
    unnamed = from_checkpoint(dataclasses.replace(golden.checkpoint, tensors=bare))
    assert named.network == unnamed.network and named.network.heads == ("pooler",)
    jax.tree.map(np.testing.assert_array_equal, named.params, unnamed.params)
    kept = {k: v for k, v in params["params"].items() if k not in ("masked_lm", "next_sentence")}
    jax.tree.map(np.testing.assert_array_equal, named.params["params"], kept)


def test_padding_anywhere_changes_no_state_of_a_real_token():
    for name in ("bert_pretraining", "llama"):
        network, params = pretrained(name)
        ids = jnp.asarray(load(name).inputs["input_ids"][:1, :5], jnp.int32)
        method = None if name == "bert_pretraining" else "read"
        run = jax.jit(functools.partial(network.apply, method=method))
        alone = run(params, ids, jnp.ones(ids.shape, bool)).states
        for valid in ([0, 1, 1, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0, 0]):
            real = np.array([valid], bool)
            padded = np.zeros((1, 8), np.int32)
            padded[real] = ids[0]
            found = np.asarray(run(params, jnp.asarray(padded), jnp.asarray(real)).states)
            np.testing.assert_allclose(found[real], alone[0], atol=1e-5)
