"""Text that was cut into subwords before it came here, whose pieces would be scored as words."""

import dataclasses
import re
from collections.abc import Iterable, Iterator

from attn_research.data.text.corpus import Pair

# Pieces as subword-nmt joins them (bro@@ ken) and as SentencePiece does (▁broken, broken▁).
SUBWORD_MARK = re.compile("\\S@@(?= )|(?:(?<= )|^)\u2581(?=[^ ])|(?<=[^ ])\u2581(?= |$)")


@dataclasses.dataclass
class _Side:
    """The lines of a side so far: how many there are, how many are cut, and the first of these."""

    name: str
    count: int = 0
    cut: int = 0
    first: str = ""

    def add(self, line: str) -> None:
        self.count += 1
        if mark := SUBWORD_MARK.search(line):
            self.cut += 1
            around = line[max(0, mark.start() - 20) : mark.end() + 20]
            self.first = self.first or f"line {self.count}: {around!r}"

    def check(self) -> None:
        if self.cut >= 3 and 10 * self.cut > self.count:
            raise ValueError(
                f"{self.name}, {self.first} is cut into subwords, as are {self.cut} of its "
                f"{self.count} lines: join the pieces to words, and give --tokenizer=bpe for "
                "subwords"
            )


def refuse_subwords(pairs: Iterable[Pair], names: tuple[str, str]) -> Iterator[Pair]:
    """The pairs; at their end a ValueError where more than a tenth of a side is cut into subwords.

    Scores of pieces would pass for scores of words. Fewer lines with such marks, or one or two, are
    text that happens to hold them. `names` are those of the sides, as files.
    """
    sides = [_Side(name) for name in names]
    for pair in pairs:
        for side, line in zip(sides, pair[:2], strict=True):
            side.add(line)
        yield pair
    for side in sides:
        side.check()
