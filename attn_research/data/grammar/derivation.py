"""Derivations of the English-French grammar: both sentences and their word links.

Every rule takes a number of English words and produces exactly that many, so a sentence of any
length is planned from the top and never rejected for its length.
"""

import random
from typing import NamedTuple

from attn_research.data.grammar import entries, lexicon
from attn_research.data.grammar.entries import (
    ADJECTIVES,
    ANTECEDENTS,
    BY_GENDER,
    INTRANSITIVE,
    NOUNS,
    TRANSITIVE,
)
from attn_research.data.grammar.french import Word, spell
from attn_research.data.grammar.phrases import CIRCUMSTANCE, PLACES, Phrases
from attn_research.data.grammar.writer import Phrase

SUBJECTS = ("person",) * 5 + ("animal",) * 3 + ("vehicle", "thing", "room", "text", "building")
SUBJECTS += ("clothing", "idea")
SITUATED = ("person", "animal", "vehicle", "thing", "clothing", "building")
OBJECTS = {subject: tuple(kinds) for subject, kinds in TRANSITIVE.items()}
DONE = TRANSITIVE["person"]


class Pronoun(NamedTuple):
    """The source indices of a pronoun, of its antecedent, and of the other possible noun."""

    pronoun: int
    antecedent: int
    distractor: int


class Derivation(Phrases):
    """A sentence pair of exactly `length` source words, drawn with the given generator.

    `same_gender` is the fraction of sentences with two possible antecedents of "it" in which both
    have one French gender.
    """

    def __init__(self, rng: random.Random, length: int, same_gender: float = 0.0):
        super().__init__(rng)
        self.same_gender = same_gender
        self.pronouns: list[Pronoun] = []
        self.tense = self.pick(("present", "past", "future"))
        self.last: Phrase | None = None  # the subject that "they" refers to
        words = self.sentence(length - 1)
        words.append(Word(".", self.say(".")))
        self.target = spell(words)

    # Clauses.

    def sentence(self, n: int) -> list[Word]:
        """Clauses joined by conjunctions, or a main clause after a subordinate clause."""
        words: list[Word] = []
        joins = lexicon.CONJUNCTIONS[self.tense]
        if n > 8 and self.random() < 0.2:
            english, french = self.pick(joins[3:])
            words += self.fixed(english, french)
            size = self.between(3, min(n - 5, 12))
            words += self.clause(size)
            words.append(Word(",", self.say(",")))
            n -= size + 2 + (" " in english)
        while True:
            if n < 7 or (n < 17 and self.random() < 0.5):
                return words + self.clause(n, top=True)
            english, french = self.pick(joins)
            join = 1 + (" " in english)
            size = self.between(3, min(n - join - 3, 16))
            words += self.clause(size, top=True)
            words += self.fixed(english, french)
            n -= size + join

    def clause(self, n: int, *, top: bool = False) -> list[Word]:
        """A clause: a subject and its predicate."""
        if top and 11 < n < 18 and self.random() < 0.5:
            return self.choice_of_antecedent(n)
        if n < 4:
            size = 1 if n < 3 else self.between(1, 2)
            kind = self.pick(("person", "animal", "vehicle")) if size > 1 else "person"
        else:
            size = min(self.between(1, n - 2), self.between(1, n - 2), 12)
            kind = self.pick(SUBJECTS)
        if size > 1:
            subject = self.phrase(size, kind)
        elif self.random() < 0.5:
            subject = self.name()
        else:
            subject = self.personal()
        if top:
            self.last = subject
        return subject.words + self.predicate(n - size, subject, self.tense)

    def personal(self) -> Phrase:
        """The pronoun he or she, or they for the plural subject of the previous clause."""
        last = self.last
        if last and last.plural and last.kind == "person":
            i, feminine, plural = self.say("they"), last.feminine, True
        else:
            feminine, plural = self.random() < 0.5, False
            i = self.say("she" if feminine else "he")
        word = ("il", "elle", "ils", "elles")[feminine + 2 * plural]
        return Phrase([Word(word, i)], "person", feminine, plural, i[0])

    def choice_of_antecedent(self, n: int) -> list[Word]:
        """Two nouns and a pronoun whose adjective decides which of them is its antecedent."""
        kind, verb, preposition, other, *adjectives = self.pick(ANTECEDENTS)
        feminine, second = self.random() < 0.5, self.random() < 0.5
        plural = self.random() < 0.25
        negated = n > 12 and self.random() < 0.6
        link = ("because", "parce que") if negated else ("even though", "même si")
        size = 3 if negated else 1
        spare = n - size - (5 if negated else 6) - bool(preposition)
        first = self.between(max(2, spare - 7), min(4, spare - 2))
        then = self.between(max(2, spare - first - 3), min(4, spare - first))
        tense = "present" if self.tense == "future" else self.tense
        one = self.simple(first, kind, self.pick(BY_GENDER[kind][feminine]), plural=plural)
        words = one.words + self.verb(verb, size, one, self.tense)
        if preposition:
            words.append(Word("dans", self.say(preposition)))
        # A fraction of 0 draws nothing, so that the pairs of older corpora stay the same.
        differ = not self.same_gender or self.random() >= self.same_gender
        noun = self.pick(BY_GENDER[other][feminine != differ])
        two = self.simple(then, other, noun, plural=plural)
        words += two.words
        rest = spare - first - then
        if rest == 1:
            words += self.fixed(*self.pick(CIRCUMSTANCE))
        elif rest:
            words += self.when(rest)
        words += self.fixed(*link)
        right, wrong = (two, one) if second else (one, two)
        i = self.say("they" if plural else "it")
        if differ:  # else the gender of the French pronoun does not depend on its antecedent
            self.pronouns.append(Pronoun(i[0], right.head, wrong.head))
        words.append(Word(("il", "elle", "ils", "elles")[right.agreement], i))
        words += self.be(1, right, tense)
        words += self.fixed("too", "trop") if negated else self.fixed("very", "très")
        words.append(self.adjective(self.pick(adjectives[second]), right.agreement))
        self.last = None
        return words

    def relative(self, n: int, kind: str, *, negated: bool) -> Phrase:
        """A noun with a subject relative (qui) or an object relative (que, participle agrees)."""
        first = self.between(2, min(4, n - 4))
        one = self.simple(first, kind, negated=negated)
        tense = self.pick(("present", "past"))
        n -= first + 1
        if kind in DONE and self.random() < 0.5:
            link = Word("que", self.say("that"))
            size = self.between(1, n - 1) if n < 4 else self.between(1, min(3, n - 1))
            who = self.phrase(n - size, "person")
            verb = self.pick(DONE[kind])
            rest = self.verb(verb, size, who, tense, object_agreement=one.agreement)
            rest = who.words + rest
        else:
            link = Word("qui", self.say("who" if kind == "person" else "that"))
            rest = self.predicate(n, one, tense)
        return one._replace(words=[*one.words, link, *rest])

    # Predicates, in exactly n words.

    def predicate(self, n: int, subject: Phrase, tense: str) -> list[Word]:
        """A predicate, chosen by the kind of its subject and by n."""
        kind, chance = subject.kind, self.random()
        if kind not in INTRANSITIVE or (n > 1 and chance < 0.25):
            return self.state(n, subject, tense)
        if n < 3 or (chance < 0.45 and n < 8):
            size = n if n < 3 else self.between(1, min(3, n))
            words = self.verb(self.pick(INTRANSITIVE[kind]), size, subject, tense)
            return words + self.adjuncts(n - size, manner=True)
        if kind == "person" and n > 5 and chance > 0.85:
            size = self.between(1, 2)
            words = self.verb(self.pick(entries.SAYING), size, subject, tense)
            words.append(Word("que", self.say("that")))
            return words + self.clause(n - size - 1)
        if kind == "person" and n < 8 and chance > 0.9:
            return self.play(n, subject, tense)
        size = self.between(1, min(3, n - 2))
        other = self.pick(OBJECTS[kind])
        verb = self.pick(TRANSITIVE[kind][other])
        words = self.verb(verb, size, subject, tense)
        n -= size
        rest = 0 if n < 5 and self.random() < 0.6 else self.between(0, min(n - 2, 5))
        words += self.phrase(n - rest, other, negated=size == 3).words
        return words + self.adjuncts(rest, manner=not verb.stative)

    def play(self, n: int, subject: Phrase, tense: str) -> list[Word]:
        """The verb play with a game (jouer à) or with an instrument (jouer de)."""
        size = self.between(1, min(3, n - 2))
        verb = self.verb(entries.VERBS["play"], size, subject, tense)
        n -= size
        if self.random() < 0.5:
            noun = self.pick(NOUNS["game"])
            i = self.say(noun.english[0])
            words = [Word("au", (), i), Word(noun.french[0], i)]
            n -= 1
        else:
            i, noun = self.say("the"), self.pick(NOUNS["instrument"])
            j = self.say(noun.english[0])
            words = [
                Word("de", (), j),
                Word(("le", "la")[noun.feminine], i),
                Word(noun.french[0], j),
            ]
            n -= 2
        return verb + words + self.adjuncts(n)

    def state(self, n: int, subject: Phrase, tense: str) -> list[Word]:
        """A predicate with be: an adjective, a passive, or a place."""
        kind, chance = subject.kind, self.random()
        if n > 3 and kind in DONE and chance < (0.3 if kind == "person" else 0.5):
            words = self.passive(self.pick(DONE[kind]), subject, tense)
            rest = self.between(0, n - 4) if n < 9 else self.between(0, 4)
            return words + self.phrase(n - 3 - rest, "person").words + self.adjuncts(rest)
        if n > 3 and kind in SITUATED and chance > 0.75:
            size = self.between(1, 2 if n > 4 else 1)
            return self.be(size, subject, tense) + self.place(n - size, PLACES[:5])
        size = self.between(1, min(3 if tense == "future" else 2, n - 1))
        # An adjective takes one word or two, and four or more with what it is "for".
        if n - size == 3 and kind not in INTRANSITIVE:
            size += 1 if size == 1 else -1
        words = self.be(size, subject, tense)
        n -= size
        if n > 1:
            words += self.fixed(*self.pick(lexicon.DEGREES))
        words.append(self.adjective(self.pick(ADJECTIVES[kind]), subject.agreement))
        if n < 3:
            return words
        if kind in INTRANSITIVE:
            return words + self.adjuncts(n - 2)
        words.append(Word("pour", self.say("for")))
        return words + self.phrase(n - 3, "person").words
