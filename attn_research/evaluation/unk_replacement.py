"""Unknown-word replacement by the translation or a copy of the aligned source word.

Luong et al. 2015, section 4; Luong, Sutskever et al. 2015, section 3.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set

from attn_research.evaluation.alignment import Link


def learn_dictionary(
    sentences: Iterable[tuple[Sequence[str], Sequence[str]]], links: Iterable[Set[Link]]
) -> dict[str, str]:
    """The dictionary of each source word's most frequently linked target word.

    `sentences` are the source and target words of training pairs, `links` the links of each. Among
    equally frequent target words the first in code point order counts.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (source, target), linked in zip(sentences, links, strict=True):
        for i, j in linked:
            counts[source[i]][target[j]] += 1
    return {
        word: min(found, key=lambda target: (-found[target], target))
        for word, found in counts.items()
    }


def replace_unknown(
    hypothesis: Sequence[str],
    source: Sequence[str],
    links: Set[Link],
    dictionary: Mapping[str, str],
    unknown: str = "<unk>",
) -> list[str]:
    """The words of a hypothesis with each unknown word replaced.

    An unknown word becomes the dictionary's translation of the source word it is linked to, or a
    copy of that word where the dictionary has none. Of several links the first source word counts;
    an unknown word without a link stays.
    """
    aligned = {target: source[i] for i, target in sorted(links, reverse=True)}
    return [
        dictionary.get(aligned[j], aligned[j]) if word == unknown and j in aligned else word
        for j, word in enumerate(hypothesis)
    ]
