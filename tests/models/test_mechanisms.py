"""Scores and localities in every encoder-decoder, by the number of their parameters."""

import pytest

from attn_research.layers.masking import LOCALITIES
from attn_research.layers.scoring import SCORINGS, make_scoring
from tests.models.networks import luong, rnn_search, transformer
from tests.models.shapes import encoder_decoder_shapes, num_parameters


def parameter_count(network):
    return num_parameters(encoder_decoder_shapes(network))


@pytest.mark.parametrize("score", SCORINGS)
def test_every_score_works_in_every_model(score):
    # n' is 3 or 4 features, annotations of RNNsearch are 2n wide, heads 4 wide.
    of_memory = {
        "additive": 6 * 3 + 3 + 12 * 3 + 3,
        "concat": 6 * 3 + 12 * 3 + 3,
        "scaled_dot": 6 * 3 + 12 * 3,
        "general": 6 * 12,
        "location": 6 * 8,
    }
    of_head = {"additive": 4, "concat": 4, "general": 16, "location": 32}
    if score in of_memory:  # "dot" needs states and annotations of one width
        base = rnn_search("general")
        found = parameter_count(rnn_search(score)) - parameter_count(base) + 6 * 12
        assert found == of_memory[score]
    of_stack = {
        "additive": 6 * 4 + 4 + 6 * 4 + 4,
        "concat": 6 * 4 + 6 * 4 + 4,
        "scaled_dot": 6 * 4 + 6 * 4,
        "general": 36,
        "location": 48,
        "dot": 0,
    }
    found = parameter_count(luong(score)) - parameter_count(luong("dot"))
    assert found == of_stack[score]
    found = parameter_count(transformer(scoring=make_scoring(score, max_length=8)))
    heads = 3 * 3 * 2  # of three attentions in three layers
    assert found - parameter_count(transformer()) == heads * of_head.get(score, 0)


@pytest.mark.parametrize("locality", LOCALITIES)
def test_every_locality_works_in_recurrent_decoders(locality):
    more = 6 * 6 + 6 if locality == "local_p" else 0
    found = parameter_count(luong("dot", locality)) - parameter_count(luong("dot"))
    assert found == more
