"""Published encoder-decoders in our search: the greedy output of the original library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.decoding.search import Vocabulary, beam_search
from tests.pretrained.golden import NAMES, load, pretrained

WRITERS = tuple(name for name in NAMES if "decoder_input_ids" in load(name).inputs)
# The original may not write 0 or 1; ours writes 1 where there is no more room.
VOCABULARY = Vocabulary(pad=0, bos=0, eos=1)


@pytest.mark.parametrize("name", WRITERS)
def test_greedy_output_in_a_padded_batch_is_that_of_each_source_alone(name):
    golden, (network, params) = load(name), pretrained(name)
    expected = np.stack([tokens[length:] for length, tokens in golden.prompts])
    if network.stem is None:
        source = jnp.asarray(golden.inputs["input_ids"], jnp.int32)
        valid = jnp.arange(source.shape[1])[None] < jnp.array([[source.shape[1]], [2]])
    else:
        source = jnp.asarray(np.moveaxis(golden.inputs["input_features"], 1, 2))
        valid = jnp.ones(source.shape[:2], bool)
    count = expected.shape[1] + 1

    def apply(method, *inputs, **options):
        return network.apply(params, *inputs, method=method, **options)

    @jax.jit
    def generate(source, valid):
        encoded = apply("encode", source, valid)
        state = apply("begin", encoded, count)

        def step(state, tokens):
            found = apply("step", encoded.memory, state, tokens)
            return found.logits.at[..., VOCABULARY.eos].add(-1e6), found.state, ()

        limits = jnp.full(len(source), count)
        return beam_search(
            step, state, limits, max_length=count, beam_size=1, vocabulary=VOCABULARY
        ).tokens[:, 0]

    np.testing.assert_array_equal(generate(source, valid)[:, :-1], expected)


def test_there_are_models_that_write():
    assert {load(name).checkpoint.config["model_type"] for name in WRITERS} == {
        "t5", "marian", "whisper",
    }  # fmt: skip
