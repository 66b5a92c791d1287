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
from attn_research.pretrained.options import ACTIVATION_NAMES
from attn_research.pretrained.running import real_places, run_network
from tests.pretrained.golden import NAMES, load, pretrained

TOLERANCE = dict(rtol=1e-5, atol=2e-5)


def test_there_are_golden_arrays_of_every_family():
    assert {load(name).checkpoint.config["model_type"] for name in NAMES} == set(FAMILIES)


@pytest.mark.parametrize("name", NAMES)
def test_layers_weights_and_logits_equal_those_of_the_original(name):
    golden = load(name)
    found = run_network(pretrained(name), golden.inputs)
    assert any("logits" in kind or kind == "pooler_output" for kind in golden.outputs)
    for kind, expected in golden.outputs.items():
        array = found[kind]
        assert array.shape == expected.shape
        places = slice(None)
        real = real_places(golden.inputs, kind)
        if real is not None and array.ndim > 2:  # the axis before the last counts tokens
            rows = real.reshape(len(real), *(1,) * (array.ndim - 3), -1)
            places = np.broadcast_to(rows, array.shape[:-1])
        np.testing.assert_allclose(array[places], expected[places], **TOLERANCE)


# Fields that change neither states nor logits, which no network knows.
FREE = {
    "id2label", "label2id", "pad_token_id", "bos_token_id", "eos_token_id",
    "decoder_start_token_id", "begin_suppress_tokens",
}  # fmt: skip
# Of sinusoids, which have no table; and as versions of the original before 5 write them.
FREE_OF = {
    "marian": {"max_position_embeddings"},
    "t5": {"tie_word_embeddings"},
    "dinov2": {"use_mask_token"},
}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_what_was_read(name):
    checkpoint, (network, params) = load(name).checkpoint, pretrained(name)
    family = FAMILIES[checkpoint.config["model_type"]]
    written = to_checkpoint(network, params)
    bare = not any(tensor.startswith(family.prefix) for tensor in checkpoint.tensors)
    original = {f"{family.prefix if bare else ''}{k}": v for k, v in checkpoint.tensors.items()}
    assert set(written.tensors) == set(original) - {*family.tied(network), *family.ignored(network)}
    for tensor, array in written.tensors.items():
        np.testing.assert_array_equal(array, original[tensor], err_msg=tensor)
        assert array.dtype == np.float32
    compare_configs(written.config, checkpoint.config)
    again = from_checkpoint(written)
    assert difference(again.network, network) is None
    jax.tree.map(np.testing.assert_array_equal, again.params, params)


def compare_configs(written, original):
    free = FREE | FREE_OF.get(original.get("model_type"), set())
    dropout = original.get("hidden_dropout_prob")
    for field, value in written.items():
        if field not in original or field in free:
            continue
        default = original[field]
        if isinstance(value, dict):
            compare_configs(value, default)
        elif field in ("activation_function", "hidden_act"):
            assert ACTIVATION_NAMES[value] == ACTIVATION_NAMES[default]
        else:
            assert value == (dropout if default is None else default), field


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
