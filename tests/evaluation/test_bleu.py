"""BLEU against the classic script's published algorithm, written again here, and by hand."""

import collections
import math
import random

import pytest

from attn_research.evaluation.bleu import chrf, sacre_bleu, tokenized_bleu, without_unknown


def combine(precisions, penalty):
    if not all(precisions):
        return 0.0
    return penalty * math.exp(sum(map(math.log, precisions)) / len(precisions))


def classic_bleu(hypotheses, references):
    """What multi-bleu prints, from its definition: (BLEU, four precisions, BP) as text."""
    matches, totals = [0] * 4, [0] * 4
    hypothesis_length = reference_length = 0
    for hypothesis, group in zip(hypotheses, references, strict=True):
        words, group = hypothesis.split(), [reference.split() for reference in group]
        hypothesis_length += len(words)
        reference_length += min((abs(len(r) - len(words)), len(r)) for r in group)[1]
        for order in range(1, 5):

            def ngrams(tokens, n=order):
                return collections.Counter(
                    tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)
                )

            allowed = collections.Counter()
            for reference in group:
                allowed |= ngrams(reference)
            matches[order - 1] += (ngrams(words) & allowed).total()
            totals[order - 1] += ngrams(words).total()
    precisions = [100 * m / t if t else 0.0 for m, t in zip(matches, totals, strict=True)]
    short = hypothesis_length < reference_length
    penalty = math.exp(1 - reference_length / hypothesis_length) if short else 1.0
    printed = [f"{precision:.1f}" for precision in precisions]
    return f"{combine(precisions, penalty):.2f}", printed, f"{penalty:.3f}"


def random_corpus(seed, num_references):
    rng = random.Random(seed)
    vocabulary = ["w" + str(i) for i in range(rng.choice([6, 40]))] + ["W1", "É", "."]
    references = [
        [" ".join(rng.choices(vocabulary, k=rng.randint(1, 25))) for _ in range(num_references)]
        for _ in range(rng.choice([1, 30]))
    ]
    hypotheses = [
        " ".join(
            word if rng.random() < 0.8 else rng.choice(vocabulary)
            for word in rng.choice(group).split()[: rng.randint(3, 30)]
        )
        for group in references
    ]
    return hypotheses, references


@pytest.mark.parametrize("num_references", [1, 3])
@pytest.mark.parametrize("seed", range(12))
def test_equals_the_classic_script_on_random_corpora(seed, num_references):
    hypotheses, references = random_corpus(seed, num_references)
    got = tokenized_bleu(hypotheses, references)
    printed = [f"{precision:.1f}" for precision in got.precisions]
    want = classic_bleu(hypotheses, references)
    assert (f"{got.score:.2f}", printed, f"{got.brevity_penalty:.3f}") == want


def test_the_oracle_combines_precisions_as_published():
    assert f"{combine([71.0, 47.5, 34.3, 24.5], 0.999):.2f}" == "40.99"


def test_bleu_by_hand():
    # Matches 5/6, 4/5, 3/4, 2/3: their product is 1/3.
    got = tokenized_bleu(["a b c d e x"], ["a b c d e f"])
    assert got.score == pytest.approx(100 * (1 / 3) ** 0.25)
    assert got.precisions == pytest.approx((500 / 6, 80, 75, 200 / 3))
    assert (got.brevity_penalty, got.hypothesis_length, got.reference_length) == (1.0, 6, 6)
    assert str(got).startswith(
        "BLEU = 75.98, 83.3/80.0/75.0/66.7 (BP=1.000, ratio=1.000, hyp_len=6"
    )


def test_brevity_and_clipping_by_hand():
    got = tokenized_bleu(["a b c d"], ["a b c d e f"])
    assert got.score == pytest.approx(100 * math.exp(1 - 6 / 4))
    assert tokenized_bleu(["the the the the"], ["the cat sat down"]).precisions[0] == 25.0


def test_counts_are_summed_before_they_are_divided():
    got = tokenized_bleu(["a b c d e", "x y"], ["a b c d e", "p q"])
    assert got.precisions[0] == pytest.approx(100 * 5 / 7)


def test_bleu_is_zero_without_a_match_of_some_order_and_case_sensitive():
    assert tokenized_bleu(["a b c x"], ["a b c d"]).score == 0
    assert tokenized_bleu(["a b c"], ["a b c"]).score == 0  # too short for a 4-gram
    assert tokenized_bleu(["A B C D"], ["a b c d"]).score == 0
    assert "case:mixed" in tokenized_bleu(["a"], ["a"]).signature


def test_the_shorter_of_two_closest_reference_lengths_counts():
    got = tokenized_bleu(["a b c d"], [["a b c d e f", "a b"]])
    assert got.reference_length == 2


def test_references_may_differ_in_number():
    got = tokenized_bleu(["a b c d", "e f g h"], [["a b c d"], ["x", "e f g h"]])
    assert got.score == pytest.approx(100)


def test_a_no_break_space_does_not_split_a_word():
    got = tokenized_bleu(["10\u00a0000 a b c d"], ["10\u00a0000 a b c d"])
    assert got.hypothesis_length == 5


def test_sacre_bleu_tokenizes_and_gives_a_signature():
    got = sacre_bleu(["Hello, my dear world!"], ["Hello, my dear world!"])
    assert (got.score, got.hypothesis_length) == (pytest.approx(100), 6)
    assert got.signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert sacre_bleu(["HELLO MY DEAR WORLD"], ["hello my dear world"], lowercase=True).score > 99
    assert sacre_bleu(["a b c d"], ["a b c e"]).score > 0  # smoothed
    assert "tok:none|smooth:none" in tokenized_bleu(["a"], ["a"]).signature


def test_an_unknown_tokenizer_is_refused():
    with pytest.raises(ValueError, match=r"no tokenizer 'moses'; it has .*13a"):
        sacre_bleu(["a"], ["a"], tokenize="moses")


def test_chrf():
    got = chrf(["abcdefg"], ["abcdefg"])
    assert got.score == pytest.approx(100)
    assert "nc:6|nw:0" in got.signature


@pytest.mark.parametrize("metric", [tokenized_bleu, sacre_bleu, chrf])
@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        ([], [], "empty"),
        (["a"], ["a", "b"], "1 hypotheses but 2 references"),
        (["a", "bro@@ ken"], ["a", "b"], "hypothesis 1 still carries the subword mark '@@'"),
        (["a", "bro@@"], ["a", "b"], "hypothesis 1 still carries the subword mark '@@'"),
        (["a"], ["▁a ▁b"], "reference 0 still carries the subword mark '▁'"),
        (["a"], [[]], "sentence 0 has no reference"),
        (["a"], [" "], "the references hold no words"),
        ("ab", "ab", "not one string"),
    ],
)
def test_invalid_corpora_are_refused(metric, hypotheses, references, message):
    with pytest.raises(ValueError, match=message):
        metric(hypotheses, references)


def test_hyphens_and_single_at_signs_are_no_subword_marks():
    assert tokenized_bleu(["a @-@ b @@ c"], ["a @-@ b @@ c"]).score == pytest.approx(100)


def test_sentences_without_unknown_words():
    sources, references = ["a b", "a z", "b", "a"], ["x", "y", "x q", "y x"]
    known_target = {"x", "y"}
    assert without_unknown(sources, references, {"a", "b"}, known_target) == [0, 3]
    assert without_unknown(sources, references, lambda word: word != "b", known_target) == [1, 3]
    with pytest.raises(ValueError, match="4 sources but 1 references"):
        without_unknown(sources, ["x"], {"a"}, {"x"})
