"""French inflection, elision and contraction.

Regular forms are computed and irregular ones are given by the lexicon. Forms of an adjective or
a participle are ordered masculine singular, feminine singular, masculine plural, feminine plural,
so that `forms[feminine + 2 * plural]` agrees.
"""

from collections.abc import Sequence
from typing import NamedTuple

Forms = tuple[str, str, str, str]

# The words of the lexicon before which nothing elides, and their forms in -s.
ASPIRATE = {"haut", "haute", "hangar", "harpe", "hamster", "homard", "hache"}
ASPIRATE |= {word + "s" for word in ASPIRATE} | {"héros", "huit", "onze"}
ELIDED = {"le": "l'", "la": "l'", "de": "d'", "que": "qu'", "ne": "n'", "se": "s'"}
BEFORE_VOWEL = ELIDED | {"ce": "cet", "sa": "son", "ma": "mon"}
MERGED = {("de", "le"): "du", ("de", "les"): "des", ("à", "le"): "au", ("à", "les"): "aux"}
CHANGING = {*BEFORE_VOWEL, "les", "si"}


class Word(NamedTuple):
    """A French word in a derivation with the source indices it is linked to."""

    text: str
    sure: tuple[int, ...] = ()
    possible: tuple[int, ...] = ()


def starts_with_vowel(word: str) -> bool:
    """True if the word before elides: an initial vowel or mute h."""
    return word[0] in "aeiouhàâéèêîôœ" and word not in ASPIRATE


def spell(words: Sequence[Word]) -> list[Word]:
    """Elision and contraction: le ami -> l' ami, de le chat -> du chat, sa amie -> son amie.

    A contraction carries the links of both of its words.
    """
    out: list[Word] = []
    for word in words:
        if out and out[-1].text in CHANGING:
            last = out[-1]
            if last.text in BEFORE_VOWEL and starts_with_vowel(word.text):
                out[-1] = last._replace(text=BEFORE_VOWEL[last.text])
            elif last.text == "si" and word.text in ("il", "ils"):
                out[-1] = last._replace(text="s'")
            elif last.text == "de" and word.text == "des":  # no indefinite article after de
                out[-1] = _merge("de", last, word)
                continue
            elif len(out) > 1 and (out[-2].text, last.text) in MERGED:
                before = out[-2]
                out[-2:] = [_merge(MERGED[before.text, last.text], before, last)]
        out.append(word)
    return out


def _merge(text: str, first: Word, second: Word) -> Word:
    sure = first.sure + second.sure
    return Word(text, sure, tuple(i for i in first.possible + second.possible if i not in sure))


def plural(noun: str) -> str:
    """The plural of a French noun or masculine adjective."""
    if noun[-1] in "sxz":
        return noun
    if noun.endswith("al") and noun not in ("bal", "festival", "carnaval", "final", "naval"):
        return noun[:-2] + "aux"
    if noun.endswith(("eau", "eu")) and noun not in ("bleu", "pneu"):
        return noun + "x"
    return noun + ("x" if noun in ("bijou", "caillou", "genou", "hibou", "chou") else "s")


def feminine(adjective: str) -> str:
    """The feminine singular of a regular French adjective or participle."""
    if adjective.endswith("e"):
        return adjective
    for ending, new in (("eux", "euse"), ("if", "ive"), ("er", "ère"), ("en", "enne")):
        if adjective.endswith(ending):
            return adjective[: -len(ending)] + new
    return adjective + ("le" if adjective.endswith(("el", "eil", "il")) else "e")


def agree(masculine: str, other: str = "") -> Forms:
    """The four forms of an adjective from the masculine and, if irregular, the feminine."""
    other = other or feminine(masculine)
    return masculine, other, plural(masculine), other + "s"


def conjugate(infinitive: str) -> tuple[str, str, str, str, str]:
    """Present singular and plural, imperfect stem, future and participle if regular."""
    stem = infinitive[:-2]
    if infinitive.endswith("er"):
        before_a = stem + "e" if stem[-1] == "g" else stem[:-1] + "ç" if stem[-1] == "c" else stem
        return stem + "e", stem + "ent", before_a, infinitive + "a", stem + "é"
    if infinitive.endswith("ir"):
        return stem + "it", stem + "issent", stem + "iss", infinitive + "a", stem + "i"
    return stem, stem + "ent", stem, stem + "ra", stem + "u"
