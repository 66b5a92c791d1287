"""Contractions undone as the Hansards write them."""

from attn_research.data.text.contractions import Uncontracted, undo_contractions
from attn_research.data.text.corpus import Pair


def test_english():
    line = "i don &apos;t know what &apos;s won , they &apos;ve won &apos;t &quot; said &quot;"
    expected = 'i do not know what \'s won , they have will not " said "'
    assert undo_contractions("en", line) == expected
    assert undo_contractions("en", "he can &apos;t") == "he can not"


def test_french():
    line = "l&apos; avis du maire , qu&apos; il parle aux amis aujourd&apos; hui"
    expected = "le avis de le maire , que il parle à les amis aujourd' hui"
    assert undo_contractions("fr", line) == expected


def test_a_corpus_on_both_sides():
    class Small:
        languages = ("fr", "en")

        def split(self, name):
            return [Pair("c&apos; est", "it isn &apos;t")]

        def fingerprint(self, name):
            raise NotImplementedError

    corpus = Uncontracted(Small())
    assert list(corpus.split("train")) == [Pair("ce est", "it is not")]
    assert len(corpus.fingerprint("train")) == 64
