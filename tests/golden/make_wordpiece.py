"""Writes wordpiece.json: texts cut by the library tokenizers, with a small vocabulary.

python tests/golden/make_wordpiece.py
"""

import json
import pathlib

from tokenizers import BertWordPieceTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = "the un ##want ##ed ##s run ##n ##ing naive cafe caf a ##a b ##b c ne Ne evry Evry 5 ##5 0"
MARKS = ". , ! ' - [ ] — “ ” € 東 京 ½ ² ß İ i ##i fi"
TEXTS = (
    "The unwanted, running runs!",
    "Naïve café cafés; né à Évry",
    "aab abba cab",
    "東京a b東",
    "a\u00a0b\u2028c\x01\u200d5\ufffd",
    "“the” — 5.50€",
    "İi ½ ² ﬁ ß",
    "a" * 100,
    "a" * 101,
    "don't un-wanted [the]",
    "   ",
)


def main() -> None:
    vocabulary = SPECIAL + sorted(set(f"{PIECES} {MARKS}".split()))
    found = {}
    for lowercase in (True, False):
        tokenizer = BertWordPieceTokenizer(
            {piece: i for i, piece in enumerate(vocabulary)}, lowercase=lowercase
        )
        found[str(lowercase)] = [
            tokenizer.encode(text, add_special_tokens=False).tokens for text in TEXTS
        ]
    about = {"vocabulary": vocabulary, "texts": TEXTS, "pieces": found}
    path = pathlib.Path(__file__).with_name("wordpiece.json")
    path.write_text(json.dumps(about, ensure_ascii=False, indent=0))


if __name__ == "__main__":
    main()
