"""Contractions and elisions of Moses-tokenized text undone, as in the aligned Hansards."""

import dataclasses
from collections.abc import Sequence

from attn_research.data.text.corpus import Corpus, Pair
from attn_research.data.text.parallel import fingerprint_pairs

# Which of two words an English 's or 'd stands for is not decided: the Hansards keep 's.
_WORDS = {
    "en": {
        "&apos;m": "am", "&apos;re": "are", "&apos;ll": "will", "&apos;ve": "have",
        "&apos;d": "would", "&apos;t": "not", "don": "do", "doesn": "does", "didn": "did",
        "isn": "is", "aren": "are", "wasn": "was", "weren": "were", "won": "will",
        "wouldn": "would", "couldn": "could", "shouldn": "should", "haven": "have", "hasn": "has",
        "hadn": "had", "ain": "is", "mustn": "must", "needn": "need",
    },
    "fr": {
        "l&apos;": "le", "d&apos;": "de", "n&apos;": "ne", "j&apos;": "je", "qu&apos;": "que",
        "c&apos;": "ce", "s&apos;": "se", "m&apos;": "me", "t&apos;": "te",
        "jusqu&apos;": "jusque", "lorsqu&apos;": "lorsque", "puisqu&apos;": "puisque",
        "quoiqu&apos;": "quoique", "du": "de le", "des": "de les", "au": "à le", "aux": "à les",
    },
}  # fmt: skip
_ESCAPES = {"&apos;": "'", "&quot;": '"', "&amp;": "&", "&#124;": "|", "&lt;": "<", "&gt;": ">"}


def undo_contractions(language: str, line: str) -> str:
    """The line with contractions written out and Moses's escapes read, as in the Hansards.

    The stem of an English negation is written out only before its `not`: "won" alone stays.
    """
    table, words = _WORDS[language], line.split()
    found = []
    for i, word in enumerate(words):
        negated = words[i + 1 : i + 2] == ["&apos;t"]
        if language == "fr" or word.startswith("&apos;") or negated:
            word = table.get(word, word)
        for escape, character in _ESCAPES.items():
            word = word.replace(escape, character)
        found.append(word)
    return " ".join(found)


@dataclasses.dataclass(frozen=True)
class Uncontracted:
    """A corpus without gold links, with contractions undone."""

    corpus: Corpus

    @property
    def languages(self) -> tuple[str, str]:
        return self.corpus.languages

    def split(self, name: str) -> Sequence[Pair]:
        """The pairs of one split, held in memory."""
        return [
            Pair(*map(undo_contractions, self.languages, pair[:2]))
            for pair in self.corpus.split(name)
        ]

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the split's pairs, in hex."""
        return fingerprint_pairs(self.split(name))
