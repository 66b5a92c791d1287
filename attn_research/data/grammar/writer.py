"""The basis of all rules of the English-French grammar: random choices, words and verbs.

A rule appends its English words in order and returns its French words, in French order, each with
the source indices it is linked to. So links arise with the sentence and are never guessed.
"""

import random
from typing import NamedTuple

from attn_research.data.grammar import entries, lexicon
from attn_research.data.grammar.entries import Adjective, Verb
from attn_research.data.grammar.french import Word

FREQUENCY = entries.pairs(lexicon.FREQUENCY)
AVOIR, ETRE, WAS = ("a", "ont"), ("est", "sont"), ("était", "étaient")


class Phrase(NamedTuple):
    """A noun phrase: its French words, its agreement and the source index of its noun."""

    words: list[Word]
    kind: str
    feminine: bool
    plural: bool
    head: int

    @property
    def agreement(self) -> int:
        """The index of the adjective form that agrees."""
        return self.feminine + 2 * self.plural


class Writer:
    """The English words so far, and the rules that choose no noun."""

    def __init__(self, rng: random.Random):
        self.random = rng.random
        self.source: list[str] = []

    def pick(self, pool):
        """A random item of the pool."""
        return pool[int(self.random() * len(pool))]

    def between(self, low: int, high: int) -> int:
        """A random integer from low to high, both included."""
        return low + int(self.random() * (high - low + 1))

    def say(self, word: str) -> tuple[int]:
        """Appends an English word; its index, as the links of a French word, is returned."""
        self.source.append(word)
        return (len(self.source) - 1,)

    def fixed(self, english: str, french: str) -> list[Word]:
        """Invariable words, linked in order; the first may have several French words."""
        links = [self.say(word) for word in english.split()]
        words = french.split()
        spare = len(words) - len(links)
        return [Word(word, links[max(0, k - spare)]) for k, word in enumerate(words)]

    def adjective(self, choice: Adjective, agreement: int) -> Word:
        """An adjective."""
        return Word(choice.french[agreement], self.say(choice.english))

    def verb(
        self, verb: Verb, n: int, subject: Phrase, tense: str, object_agreement: int = 0
    ) -> list[Word]:
        """A verb of n words: 1 plain, 2 progressive, future or with an adverb, 3 negated.

        There is no future of one word: it becomes the present. A participle with être agrees
        with the subject, one with avoir with an object before it.
        """
        plural, past, future = subject.plural, tense == "past", tense == "future" and n > 1
        progressive = n > 1 and tense == "present" and not verb.stative and self.random() < 0.35
        helper = no = ()
        adverb: list[Word] = []
        if future:
            helper = self.say("will")
        elif progressive:
            helper = self.say(_be(past=False, plural=plural))
        elif n == 3:
            helper = self.say("did" if past else "do" if plural else "does")
        elif n == 2:
            english, french = self.pick(FREQUENCY)
            adverb.append(Word(french, self.say(english)))
        if n == 3:
            no = self.say("not")
        if progressive:
            i = self.say(verb.ing)
        elif helper:
            i = self.say(verb.base)
        else:
            i = self.say(verb.past if past else verb.present[plural])
        if past and not verb.stative:
            agreement = subject.agreement if verb.motion else object_agreement
            conjugated = Word((ETRE if verb.motion else AVOIR)[plural], (), helper + i)
            rest = [*adverb, Word(verb.participle[agreement], i, helper)]
        else:
            forms = verb.future if future else verb.imperfect if past else verb.french_present
            conjugated, rest = Word(forms[plural], i, helper), adverb
        return _negate(conjugated, no, rest)

    def be(self, n: int, subject: Phrase, tense: str) -> list[Word]:
        """A form of be of n words: 1 plain, 2 future or negated, 3 negated future."""
        no = ()
        if tense == "future" and n > 1:
            helper = self.say("will")
            if n == 3:
                no = self.say("not")
            word = Word(("sera", "seront")[subject.plural], self.say("be"), helper)
        else:
            i = self.say(_be(past=tense == "past", plural=subject.plural))
            word = Word((WAS if tense == "past" else ETRE)[subject.plural], i)
            if n > 1:
                no = self.say("not")
        return _negate(word, no, [])

    def passive(self, verb: Verb, subject: Phrase, tense: str) -> list[Word]:
        """A passive of three words: a form of be, a participle and by."""
        i = self.say(_be(past=tense == "past", plural=subject.plural))
        if tense == "past":
            words = [Word(AVOIR[subject.plural], (), i), Word("été", i)]
        else:
            words = [Word(ETRE[subject.plural], i)]
        words.append(Word(verb.participle[subject.agreement], self.say(verb.passive)))
        return [*words, Word("par", self.say("by"))]


def _be(*, past: bool, plural: bool) -> str:
    return (("is", "are"), ("was", "were"))[past][plural]


def _negate(conjugated: Word, no: tuple[int, ...], rest: list[Word]) -> list[Word]:
    if not no:
        return [conjugated, *rest]
    return [Word("ne", (), no), conjugated, Word("pas", no), *rest]
