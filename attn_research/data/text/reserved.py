"""Stand-ins for what SentencePiece reserves, so that text which holds it comes back as it was.

SentencePiece writes a space as U+2581, takes U+2585 for an unknown character and leaves training
lines with it out, and cuts the names of its special pieces (<s>, </s>, <pad>) out of training text.
A noncharacter of Unicode, which no text holds, stands for each of these characters, and for the `<`
of such a name. `data.files.check_characters` refuses text that holds one of the noncharacters.
"""

import re

from attn_research.data.files import check_characters

SPACE_MARK = "\u2581"  # ▁
_STAND_INS = {SPACE_MARK: "\ufdd0", "\u2585": "\ufdd1", "<": "\ufdd2"}
_RESERVED = re.compile("\u2581|\u2585|<(?=(?:pad|s|/s|unk)>)")
_BACK = str.maketrans({stand_in: character for character, stand_in in _STAND_INS.items()})


def hide_reserved(text: str) -> str:
    """The text as SentencePiece may read it; a ValueError for a character that is in no text."""
    check_characters(text, f"the text that starts {text[:40]!r}")
    return _RESERVED.sub(lambda found: _STAND_INS[found[0]], text)


def show_reserved(text: str) -> str:
    """The text that `hide_reserved` was given."""
    return text.translate(_BACK)
