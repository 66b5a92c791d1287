"""Unknown-word replacement by hand."""

import pytest

from attn_research.evaluation.unk_replacement import learn_dictionary, replace_unknown

SENTENCES = [
    (["the", "cat", "sleeps"], ["le", "chat", "dort"]),
    (["the", "house"], ["la", "maison"]),
    (["the", "cat"], ["le", "minou"]),
    (["a", "cat"], ["un", "chat"]),
]
LINKS = [
    {(0, 0), (1, 1)},
    {(0, 0), (1, 1)},
    {(0, 0), (1, 1)},
    {(1, 1)},
]


def test_the_dictionary_has_the_most_frequent_translation():
    assert learn_dictionary(SENTENCES, LINKS) == {"the": "le", "cat": "chat", "house": "maison"}


def test_ties_go_to_the_first_in_alphabetical_order():
    for order in (1, -1):
        assert learn_dictionary(SENTENCES[1:3:][::order], LINKS[:2])["the"] == "la"


def test_fewer_links_than_sentences_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        learn_dictionary(SENTENCES, LINKS[:3])


def test_unknown_words_are_translated_or_copied_and_known_words_kept():
    hypothesis = ["<unk>", "chat", "de", "<unk>"]
    source = ["the", "cat", "of", "Kowalski"]
    # Known words keep what they are, whatever they are linked to.
    links = {(0, 0), (0, 1), (2, 2), (3, 3)}
    got = replace_unknown(hypothesis, source, links, {"the": "le"})
    assert got == ["le", "chat", "de", "Kowalski"]
    assert hypothesis == ["<unk>", "chat", "de", "<unk>"]


def test_the_first_link_counts_and_without_a_link_the_mark_stays():
    source = ["b", "a"]
    links = {(1, 0), (0, 0)}
    assert replace_unknown(["<unk>", "<unk>"], source, links, {}) == ["b", "<unk>"]
    assert replace_unknown(["<unk>", "?"], source, {(1, 1)}, {"a": "x"}, "?") == ["<unk>", "x"]
    assert replace_unknown([], source, frozenset(), {}) == []
