"""Long texts for language models, by split: known ones, files of one's own, the built-in corpus.

Every text ends with a newline. The known ones are files of the folder lm in `data_dir` (see
`find_data_dir`), plain or gzip, whose SHA-256 is checked.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from attn_research.data.download import find_data_dir, find_data_file, read_checked
from attn_research.data.files import read_lines
from attn_research.data.grammar.grammar import Grammar


@dataclasses.dataclass(frozen=True)
class LongTexts:
    """The text to train on, the one that chooses the parameters, and those that are scored."""

    train: str
    dev: str
    tests: Mapping[str, str]

    def fingerprints(self) -> dict[str, list[str]]:
        """The SHA-256 of each split, in hex, in a list of one."""
        texts = {"train": self.train, "dev": self.dev, **self.tests}
        return {name: [hashlib.sha256(text.encode()).hexdigest()] for name, text in texts.items()}


def _known(stem: str, sha256: str) -> Callable[[str | Path | None], str]:
    def read(data_dir: str | Path | None) -> str:
        return _ended(read_checked(_find(stem, data_dir), sha256).decode())

    return read


def _find(stem: str, data_dir: str | Path | None) -> Path:
    """The path of a file of the folder lm, plain or gzip."""
    folder = find_data_dir(data_dir) / "lm"
    names = [name for name in (stem, f"{stem}.gz") if (folder / name).is_file()]
    return find_data_file(f"lm/{(names or [stem])[0]}", data_dir)


def _ended(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


_TINYSHAKESPEARE = _known(
    "tinyshakespeare.txt", "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
)
_WAR_AND_PEACE = _known(
    "warandpeace.txt", "bf5b273d9246268f96663c43c00a1055ae2e42c2262be32f7e43b48dd123451a"
)
_PTB = {
    "train": _known(
        "ptb.train.txt", "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"
    ),
    "dev": _known(
        "ptb.valid.txt", "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"
    ),
    "test": _known(
        "ptb.test.txt", "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"
    ),
}
_WIKITEXT2 = {
    "dev": _known(
        "wikitext-2-raw.valid.txt",
        "4cd0f6876d07a413aa911261ff6d363c72d757d47f0fdd6015702014c89cb9c7",
    ),
    "test": _known(
        "wikitext-2-raw.test.txt",
        "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08",
    ),
}


def tinyshakespeare(data_dir: str | Path | None = None) -> LongTexts:
    """Karpathy's tinyshakespeare, split as nanoGPT does: the first 90% of characters to train on.

    The rest is the only other split, so that the text which chooses parameters is also the one that
    is scored, under the name "validation".
    """
    text = _TINYSHAKESPEARE(data_dir)
    cut = int(0.9 * len(text))
    return LongTexts(text[:cut], text[cut:], {"validation": text[cut:]})


def war_and_peace(data_dir: str | Path | None = None) -> LongTexts:
    """Tolstoy's War and Peace, as Project Gutenberg has it: 80%, 10% and 10% of its characters."""
    text = _WAR_AND_PEACE(data_dir)
    cuts = int(0.8 * len(text)), int(0.9 * len(text))
    parts = text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]
    return LongTexts(parts[0], parts[1], {"test": parts[2]})


def penn_treebank(data_dir: str | Path | None = None) -> LongTexts:
    """Mikolov's Penn Treebank: 10,000 words, a sentence a line; 82,430 tokens of test with ends."""
    train, dev, test = (_PTB[split](data_dir) for split in ("train", "dev", "test"))
    return LongTexts(train, dev, {"test": test})


def wikitext2(data_dir: str | Path | None = None) -> LongTexts:
    """WikiText-2, raw (Merity et al. 2016), trained on lm/wikitext-2-raw.train.txt."""
    train = read_text(_find("wikitext-2-raw.train.txt", data_dir))
    return LongTexts(train, _WIKITEXT2["dev"](data_dir), {"test": _WIKITEXT2["test"](data_dir)})


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, plain or gzip, whose lines end with a newline each.

    A ValueError names a file without text, or the line at fault.
    """
    text = "".join(f"{line}\n" for line in read_lines(path))
    if not text.strip():
        raise ValueError(f"{path} holds no text")
    return text


def grammar_text(sentences: int = 20_000, scored: int = 1_200) -> LongTexts:
    """English sentences of the built-in corpus, one a line: a text as long as it has to be.

    The test text has as many sentences as are `scored`, the development text half as many.
    """
    corpus = Grammar(train_size=sentences, dev_size=scored // 2, test_size=scored)
    train, dev, test = (
        "".join(f"{pair.source}\n" for pair in corpus.split(name))
        for name in ("train", "dev", "test")
    )
    return LongTexts(train, dev, {"test": test})


KNOWN: dict[str, Callable[[str | Path | None], LongTexts]] = {
    "tinyshakespeare": tinyshakespeare,
    "ptb": penn_treebank,
    "wikitext2": wikitext2,
    "warandpeace": war_and_peace,
}
# Test texts alone, for models that were trained on others.
TESTS: dict[str, Callable[[str | Path | None], str]] = {
    "wikitext2": _WIKITEXT2["test"],
    "ptb": _PTB["test"],
}
