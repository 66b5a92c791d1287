"""The entries of the English-French grammar: every inflected form of the lexicon's words."""

from typing import NamedTuple

from attn_research.data.grammar import french, lexicon
from attn_research.data.grammar.french import Forms


class Noun(NamedTuple):
    """A noun: singular and plural in English and in French, and the French gender."""

    english: tuple[str, str]
    french: tuple[str, str]
    feminine: bool


class Adjective(NamedTuple):
    """An adjective with its French forms; `before` if it stands before the French noun."""

    english: str
    french: Forms
    before: bool


class Verb(NamedTuple):
    """A verb in the third person, (singular, plural) where a form has both."""

    base: str
    present: tuple[str, str]
    past: str
    ing: str
    passive: str  # the participle
    french_present: tuple[str, str]
    imperfect: tuple[str, str]
    future: tuple[str, str]
    participle: Forms
    motion: bool  # passé composé with être
    stative: bool  # past in the imperfect, no progressive


def _add_s(word: str) -> str:
    """The -s form of a plural noun or a third-person verb."""
    if word.endswith(("s", "x", "z", "ch", "sh")) or word in ("tomato", "hero"):
        return word + "es"
    return word[:-1] + "ies" if word[-1] == "y" and word[-2] not in "aeiou" else word + "s"


def _past(base: str) -> str:
    """The regular past."""
    if base[-1] == "y" and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return base + ("d" if base.endswith("e") else "ed")


def _ing(base: str) -> str:
    """The -ing form; a final consonant doubles in a closed list of verbs."""
    if base in ("run", "cut", "forget"):
        return base + base[-1] + "ing"
    return (base[:-1] if base.endswith("e") and not base.endswith("ee") else base) + "ing"


def split(table: str) -> list[str]:
    """The entries of a table, which commas separate, each on one line."""
    return [" ".join(entry.split()) for entry in table.split(",")]


def noun(entry: str) -> Noun:
    """The noun of an entry of the lexicon."""
    english, translation, gender, *irregular = entry.split()
    many = irregular[0] if irregular else _add_s(english)
    return Noun((english, many), (translation, french.plural(translation)), gender == "f")


def _adjective(entry: str) -> Adjective:
    english, *forms = entry.removeprefix("+").split()
    return Adjective(english, french.agree(*forms), entry.startswith("+"))


PARTICIPLES = dict(entry.split() for entry in split(lexicon.PARTICIPLES))


def _verb(entry: str) -> tuple[str, Verb]:
    left, _, right = entry.partition("/")
    base, infinitive, *past = left.split()
    one, many, stem, future, participle = right.split() or french.conjugate(infinitive)
    simple = past[0] if past else _past(base)
    verb = Verb(
        base,
        (_add_s(base), base),
        simple,
        _ing(base),
        PARTICIPLES.get(base, simple),
        (one, many),
        (stem + "ait", stem + "aient"),
        (future, future[:-1] + "ont"),
        french.agree(participle),
        infinitive in lexicon.MOTION,
        base in lexicon.STATIVE,
    )
    return infinitive, verb


def nouns(table: str) -> tuple[Noun, ...]:
    """The nouns of a table."""
    return tuple(map(noun, split(table)))


def adjectives(table: str) -> tuple[Adjective, ...]:
    """The adjectives of a table."""
    return tuple(map(_adjective, split(table)))


NOUNS = {kind: nouns(table) for kind, table in lexicon.NOUNS.items()}
BY_GENDER = {  # masculine, feminine
    kind: tuple(tuple(n for n in table if n.feminine == gender) for gender in (False, True))
    for kind, table in NOUNS.items()
}
ADJECTIVES = {kind: adjectives(table) for kind, table in lexicon.ADJECTIVES.items()}
# A verb is found by its English base and, where there are two senses, base:infinitive.
VERBS: dict[str, Verb] = {}
for _infinitive, _entry in map(_verb, split(lexicon.VERBS)):
    VERBS[_entry.base] = VERBS[f"{_entry.base}:{_infinitive}"] = _entry


def verbs(bases: str) -> tuple[Verb, ...]:
    """The verbs of a space-separated list."""
    return tuple(VERBS[base] for base in bases.split())


TRANSITIVE = {
    subject: {kind: verbs(bases) for kind, bases in objects.items()}
    for subject, objects in lexicon.TRANSITIVE.items()
}
INTRANSITIVE = {subject: verbs(bases) for subject, bases in lexicon.INTRANSITIVE.items()}
SAYING = verbs(lexicon.SAYING)
ANTECEDENTS = tuple(
    (kind, VERBS[verb], preposition, other, *map(adjectives, fitting))
    for kind, verb, preposition, other, *fitting in lexicon.PRONOUNS
)


def pairs(table: str) -> tuple[tuple[str, str], ...]:
    """The (English, French) pairs of a table of words that do not vary."""
    return tuple((entry.split()[0], entry.split()[1]) for entry in split(table))
