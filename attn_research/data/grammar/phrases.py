"""Noun phrases of the English-French grammar, and phrases of place and time."""

from collections.abc import Sequence

from attn_research.data.grammar import entries, lexicon
from attn_research.data.grammar.entries import ADJECTIVES, NOUNS, Noun
from attn_research.data.grammar.french import Word, starts_with_vowel
from attn_research.data.grammar.writer import Phrase, Writer

NAMES = tuple((name, sex == "f") for sex, names in lexicon.NAMES.items() for name in names.split())
MANNER, CIRCUMSTANCE = entries.pairs(lexicon.MANNER), entries.pairs(lexicon.CIRCUMSTANCE)
NUMBERS = entries.pairs(lexicon.NUMBERS)
CITIES, SEASONS = entries.pairs(lexicon.CITIES), entries.pairs(lexicon.SEASONS)
COUNTRIES, SPANS = entries.nouns(lexicon.COUNTRIES), entries.nouns(lexicon.SPANS)
SINGULAR, PLURAL = lexicon.SINGULAR, lexicon.PLURAL + NUMBERS
DEFINITE, OWNED = tuple(d for d in SINGULAR if d[0] not in ("a", "every")), lexicon.PLURAL[:8]
PLACES = tuple((*place, kinds.split()) for *place, kinds in lexicon.PLACES)
BANKS = {  # the kind of "bank" by what it is of
    "way": ("water", entries.noun("bank rive f")),
    "building": ("town", entries.noun("bank banque f")),
}
PREVOCALIC = {"beau": "bel", "nouveau": "nouvel", "vieux": "vieil"}


class Phrases(Writer):
    """The rules below a clause: noun phrases and adjuncts."""

    def relative(self, n: int, kind: str, *, negated: bool) -> Phrase:
        """A noun with a relative clause, which the rules for clauses define."""
        raise NotImplementedError

    def simple(
        self, n: int, kind: str, noun: Noun | None = None, *,
        plural: bool | None = None, negated: bool = False, owned: bool = False,
    ) -> Phrase:  # fmt: skip
        """A determiner, n - 2 numbers, degrees and adjectives, and a noun.

        The determiner is definite where `plural` is given, and one that "of" can follow where the
        noun is `owned`. With `negated`, for the object of a negated verb, un and des become de.
        """
        noun = noun or self.pick(NOUNS[kind])
        definite, feminine = plural is not None, noun.feminine
        chance = 0.0 if n == 2 or plural is False else 0.25 if n == 3 else 0.6
        counted = self.random() < chance
        if plural is None:
            plural = counted or self.random() < 0.3
        agreement = feminine + 2 * plural
        if plural:
            pool = OWNED if definite or counted else PLURAL
            english, french = pool[0] if owned else self.pick(pool)
        else:
            pool = SINGULAR[:6] if owned else DEFINITE if definite else SINGULAR
            determiner = self.pick(pool)
            english, french = determiner[0], determiner[1 + feminine]
        start = len(self.source)
        i = self.say(english)
        before: list[Word] = []
        after: list[Word] = []
        if counted:
            number, translation = self.pick(NUMBERS)
            before.append(Word(translation, self.say(number)))
        rest = n - 2 - counted
        if rest:
            degree = [Word("très", self.say("very"))] if rest > 1 else []
            choice = self.pick(ADJECTIVES[kind])
            word = self.adjective(choice, agreement)
            if not choice.before:
                after = [*degree, word]
            else:
                if agreement == 0 and starts_with_vowel(noun.french[0]):
                    word = Word(PREVOCALIC.get(word.text, word.text), word.sure)
                before += [*degree, word]
        head = self.say(noun.english[plural])
        if english == "a" and _takes_an(self.source[start + 1]):
            self.source[start] = "an"
        if (negated and english in ("a", "some")) or (english == "some" and before):
            french = "de"
        words = [Word(french, i), *before, Word(noun.french[plural], head), *after]
        return Phrase(words, kind, feminine, plural, head[0])

    def name(self) -> Phrase:
        """The name of a person."""
        name, feminine = self.pick(NAMES)
        i = self.say(name)
        return Phrase([Word(name, i)], "person", feminine, False, i[0])

    def phrase(self, n: int, kind: str, *, negated: bool = False) -> Phrase:
        """A noun phrase of n words; one word is a name, so its kind is a person."""
        if n == 1:
            return self.name()
        chance = self.random()
        if n < 4 or (n == 4 and (kind != "person" or chance < 0.6)):
            return self.simple(n, kind, negated=negated)
        if n == 4 or (n > 4 and chance < 0.25):
            return self.both(n, kind, negated=negated)
        if n < 7 or chance < 0.4:
            return self.of(n, kind, negated=negated)
        return self.relative(n, kind, negated=negated)

    def both(self, n: int, kind: str, *, negated: bool) -> Phrase:
        """Two noun phrases joined by and, with plural agreement in French."""
        least = 1 if kind == "person" and not negated else 2
        first = self.between(least, min(n - 1 - least, 5))
        one = self.phrase(first, kind, negated=negated)
        link = Word("et", self.say("and"))
        two = self.phrase(n - first - 1, kind, negated=negated)
        feminine = one.feminine and two.feminine
        return Phrase([*one.words, link, *two.words], kind, feminine, True, two.head)

    def of(self, n: int, kind: str, *, negated: bool) -> Phrase:
        """The phrase X of Y; a bank is of a river (rive) or of a town (banque)."""
        owner, noun = lexicon.OWNERS.get(kind, "person"), None
        if kind in BANKS and self.random() < 0.3:
            owner, noun = BANKS[kind]
        least = 1 if owner == "person" else 2
        first = self.between(2, min(4, n - 1 - least))
        one = self.simple(first, kind, noun, negated=negated, owned=True)
        link = Word("de", self.say("of"))
        two = self.phrase(n - 1 - first, owner)
        return one._replace(words=[*one.words, link, *two.words])

    def place(self, n: int, places: Sequence[tuple] = PLACES) -> list[Word]:
        """A prepositional phrase of n words, three or more."""
        english, french, kinds = self.pick(places)
        words = self.fixed(english, french)
        kind = self.pick(kinds)
        return words + self.phrase(n - 1, kind).words

    def adjuncts(self, n: int, *, manner: bool = False) -> list[Word]:
        """Adjuncts of place, time and frequency of n words; if n is 1 and `manner`, of manner."""
        if n == 0:
            return []
        if n == 1:
            return self.fixed(*self.pick(MANNER if manner else CIRCUMSTANCE))
        chance = self.random()
        if n == 2 or (n > 4 and chance < 0.2):
            return self.when(2) + self.adjuncts(n - 2)
        if (n == 3 or n > 5) and chance > 0.7:
            return self.when(3) + self.adjuncts(n - 3)
        return self.place(n)

    def when(self, n: int) -> list[Word]:
        """Phrases of time or place: in winter, in paris, every day; n = 3: for two days."""
        chance = self.random()
        if n == 3:
            if chance < 0.5:
                return self.fixed(*self.pick(lexicon.TIMES))
            i, (number, translation) = self.say("for"), self.pick(NUMBERS)
            j, span = self.say(number), self.pick(SPANS)
            return [
                Word("pendant", i),
                Word(translation, j),
                Word(span.french[1], self.say(span.english[1])),
            ]
        if chance < 0.25:
            i, span = self.say("every"), self.pick(SPANS)
            return [Word("chaque", i), Word(span.french[0], self.say(span.english[0]))]
        if chance < 0.5:
            number, translation = self.pick(NUMBERS)
            return [Word(translation, self.say(number)), Word("fois", self.say("times"))]
        i = self.say("in")
        if chance < 0.65:
            city, translation = self.pick(CITIES)
            return [Word("à", i), Word(translation, self.say(city))]
        if chance < 0.8:
            season, translation = self.pick(SEASONS)
            return [Word("en", i), Word(translation, self.say(season))]
        country = self.pick(COUNTRIES)
        words = [Word("en", i)] if country.feminine else [Word("au", i)]
        return [*words, Word(country.french[0], self.say(country.english[0]))]


def _takes_an(word: str) -> bool:
    return word.startswith("hon") or (word[0] in "aeiou" and not word.startswith(("uni", "use")))
