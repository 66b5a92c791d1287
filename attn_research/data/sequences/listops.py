"""ListOps: nested operations on lists of digits, and the digit that they come to.

Nangia and Bowman 2018, at the lengths of Tay et al. 2020, section 3.2.1.
"""

import dataclasses
import random
import statistics
from collections.abc import Callable
from typing import ClassVar

from attn_research.data.sequences.drawn import DrawnCorpus
from attn_research.data.text.labelled import Example

# The median of an even number of digits is rounded down.
OPERATORS: dict[str, Callable[[list[int]], int]] = {
    "[MIN": min,
    "[MAX": max,
    "[MED": lambda digits: int(statistics.median(digits)),
    "[SM": lambda digits: sum(digits) % 10,
}
END = "]"
DEEPEST, MOST_ARGUMENTS, OPERATION = 10, 10, 0.25  # the last is a probability


@dataclasses.dataclass(frozen=True)
class ListOps(DrawnCorpus):
    """Lists of more than `shortest` and fewer than `longest` tokens, as the arena draws them.

    A place is an operation on 2 to 10 others with probability 1/4, else a digit; ten levels are the
    most. Without `brackets` the tokens that close a list are left out, so that its end is nowhere.
    """

    _: dataclasses.KW_ONLY
    shortest: int = 500
    longest: int = 2000
    brackets: bool = True

    name: ClassVar[str] = "listops"

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple("0123456789")

    def draw(self, rng: random.Random) -> Example:
        while True:
            tokens, value = _expression(rng, 1, self.longest)
            if self.shortest < len(tokens) < self.longest:
                kept = [token for token in tokens if self.brackets or token != END]
                return Example((" ".join(kept),), str(value))


def _expression(rng: random.Random, depth: int, most: int) -> tuple[list[str], int]:
    """Tokens and value; the tokens of one that grows past `most` are cut, to be drawn again."""
    if depth == DEEPEST or rng.random() >= OPERATION:
        digit = rng.randrange(10)
        return [str(digit)], digit
    arguments, values = [], []
    for _ in range(rng.randint(2, MOST_ARGUMENTS)):
        tokens, value = _expression(rng, depth + 1, most)
        arguments += tokens
        values.append(value)
        if len(arguments) > most:
            break
    operator = rng.choice(list(OPERATORS))
    return [operator, *arguments, END], OPERATORS[operator](values)


def evaluate(text: str) -> int:
    """The digit that a list with brackets comes to; ValueError where it is none."""
    stack: list[tuple[str, list[int]]] = [("", [])]
    for token in text.split():
        if token in OPERATORS:
            stack.append((token, []))
        elif token == END and len(stack) > 1 and stack[-1][1]:
            operator, digits = stack.pop()
            stack[-1][1].append(OPERATORS[operator](digits))
        elif len(token) == 1 and token.isdigit():
            stack[-1][1].append(int(token))
        else:
            raise ValueError(f"{token!r} in {text[:40]!r}: not of a list")
    if len(stack) != 1 or len(stack[0][1]) != 1:
        raise ValueError(f"{text[:40]!r}: not one list")
    return stack[0][1][0]
