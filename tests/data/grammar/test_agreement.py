"""The built-in labelled corpus: numbers of nouns, splits without common texts."""

import pytest

from attn_research.data.grammar.agreement import DISTANCE, AgreementCorpus
from attn_research.data.grammar.entries import NOUNS
from attn_research.data.text.labelled import LabelledCorpus

SIZES = dict(train_size=90, dev_size=40, test_size=60)
FORMS = {
    form: i for nouns in NOUNS.values() for noun in nouns for i, form in enumerate(noun.english)
}


@pytest.fixture(scope="module")
def corpus():
    return AgreementCorpus(**SIZES)


def test_examples_depend_on_the_seed_and_the_index_alone(corpus):
    assert isinstance(corpus, LabelledCorpus)
    again = AgreementCorpus(train_size=30, dev_size=40, test_size=60)
    assert again.split("train") == corpus.split("train")[:30]
    assert again.fingerprint("test") == corpus.fingerprint("test")
    assert AgreementCorpus(seed=1, **SIZES).split("dev") != corpus.split("dev")


def test_the_label_is_the_number_of_the_noun_that_decides(corpus):
    counts = {"singular": 0, "plural": 0}
    others = 0
    for each in corpus.agreements("train"):
        counts[each.number] += 1
        assert len(each.words) - each.head >= DISTANCE
        after = [FORMS[word] for word in each.words[each.head + 1 :] if word in FORMS]
        noun = each.words[each.head]
        if noun in FORMS and "and" not in each.words:
            assert FORMS[noun] == (each.number == "plural"), each
            others += bool(after) and after[-1] != FORMS[noun]
    assert min(counts.values()) > 25  # of 90
    assert others > 10  # the last noun before the verb has the other number


def test_splits_share_no_text(corpus):
    texts = [{x.texts for x in corpus.split(name)} for name in ("train", "dev", "test")]
    assert [len(each) for each in texts] == [90, 40, 60]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]


def test_an_unknown_split_is_named(corpus):
    with pytest.raises(ValueError, match="no split 'val': there are train, dev, test"):
        corpus.split("val")
