"""A mixture of corpora: what it trains on, what it is measured on, and its fingerprint."""

import dataclasses

import pytest

from attn_research.data.grammar.grammar import Grammar
from attn_research.data.text.aligned import AlignedText
from attn_research.data.text.corpus import Mixture, Pair
from attn_research.data.text.multi30k import Multi30k
from attn_research.data.text.parallel import fingerprint_pairs


@dataclasses.dataclass(frozen=True)
class Words:
    """Pairs of one word: `train` of them to train on, one to test."""

    word: str
    train: int
    languages: tuple[str, str] = ("en", "fr")

    def split(self, name):
        sizes = {"train": self.train, "test": 1}
        return [Pair(f"{self.word}{i}", name) for i in range(sizes[name])]

    def fingerprint(self, name):
        return fingerprint_pairs(self.split(name))


def test_trains_on_all_and_tests_on_the_first():
    mixture = Mixture((Words("a", 2), Words("b", 3)))
    assert mixture.languages == ("en", "fr")
    assert [pair.source for pair in mixture.split("train")] == ["a0", "a1", "b0", "b1", "b2"]
    assert mixture.split("test") == [Pair("a0", "test")]


def test_fingerprint_is_of_every_part_in_order():
    first, second = Words("a", 2), Words("b", 3)
    mixed = {
        Mixture(parts).fingerprint("train")
        for parts in [(first, second), (second, first), (first, Words("b", 4)), (first,)]
    }
    assert len(mixed) == 4
    assert Mixture((first, second)).fingerprint("test") == first.fingerprint("test")


def test_languages_have_to_agree():
    with pytest.raises(ValueError, match="same two languages; got de-en, en-fr"):
        Mixture((Words("a", 2), Words("b", 3, ("de", "en"))))
    with pytest.raises(ValueError, match="got none"):
        Mixture(())


def test_real_corpora(data_dir):
    parts = (AlignedText("hansards", data_dir), Multi30k(("en", "fr"), data_dir))
    mixture = Mixture((*parts, Grammar(train_size=5)))
    assert len(mixture.split("train")) == 2_383 + 29_000 + 5
    assert sum(len(pair.sure) for pair in mixture.split("test")) == 4_038
