"""Multi30k task 1 (Elliott et al. 2016, 2017): image captions in English, German and French."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from attn_research.data.download import fetch, find_data_dir, read_checked
from attn_research.data.text.corpus import Pair
from attn_research.data.text.parallel import fingerprint_pairs, make_pair

LANGUAGES = ("en", "de", "fr")
SPLITS = ("train", "val", "test_2016_flickr", "test_2017_flickr", "test_2017_mscoco")
TEXTS = ("lc.norm.tok", "raw")
REPOSITORY = (
    "https://raw.githubusercontent.com/multi30k/dataset/"
    "a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1"
)


@dataclasses.dataclass(frozen=True)
class Multi30k:
    """Multi30k in two of its languages: 29,000 training pairs, 1,014 of validation, three tests.

    `text` is "lc.norm.tok", the data set's own lowercased, normalized, Moses-tokenized text that
    published scores are on, or "raw". `join` makes one pair of that many consecutive ones (the last
    may be shorter): real text of any length. Files are read from the folder multi30k in
    `data_dir` (see `find_data_dir`) and downloaded into it from `url` where they are missing;
    either way their SHA-256 is checked.
    """

    languages: tuple[str, str] = ("en", "de")
    data_dir: str | Path | None = None
    text: str = "lc.norm.tok"
    join: int = 1
    url: str = REPOSITORY

    def __post_init__(self):
        if not set(self.languages) <= set(LANGUAGES) or len(set(self.languages)) != 2:
            raise ValueError(
                f"languages={self.languages!r}: Multi30k takes two of {', '.join(LANGUAGES)}"
            )
        if self.text not in TEXTS:
            raise ValueError(f"text={self.text!r}: Multi30k has {', '.join(TEXTS)}")
        if self.join < 1:
            raise ValueError(f"join={self.join}: a pair is made of at least one")

    def split(self, name: str) -> Sequence[Pair]:
        """The pairs of one split; `dev` is another name of `val`."""
        name = "val" if name == "dev" else name
        if name not in SPLITS:
            raise ValueError(f"no split {name!r}: Multi30k has {', '.join(SPLITS)}")
        sources, targets = (self._lines(name, language) for language in self.languages)
        return [
            make_pair(" ".join(sources[i : i + self.join]), " ".join(targets[i : i + self.join]))
            for i in range(0, len(sources), self.join)
        ]

    def fingerprint(self, name: str) -> str:
        """The SHA-256 of the split's pairs, in hex."""
        return fingerprint_pairs(self.split(name))

    def _lines(self, split: str, language: str) -> list[str]:
        if self.text == "raw":
            stem, address = f"{split}.{language}", f"raw/{split}.{language}.gz"
        else:
            stem = address = f"tok/{split}.{self.text}.{language}"
        sha256 = _SHA256[f"{split}.{language}"][TEXTS.index(self.text)]
        folder = find_data_dir(self.data_dir) / "multi30k"
        for path in (folder / stem, folder / f"{stem}.gz"):
            if path.is_file():
                content = read_checked(path, sha256)
                break
        else:
            path = folder / stem
            path = path.with_name(Path(address).name)
            content = fetch(f"{self.url}/{address}", path, sha256)
        return content.decode().removesuffix("\n").split("\n")


# Of the uncompressed files: lc.norm.tok, raw.
_SHA256 = {
    "train.en": (
        "08925f8e0572bcd5a006702fc5fe20e2d77c6917d4eebd576fc20de6693c2119",
        "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
    ),
    "train.de": (
        "cb5a23529b65ec2061f1dc446192a9c37382b63cc75f81a0be59d34894b3a505",
        "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
    ),
    "train.fr": (
        "8fa41bb718412bcb7c5dfa58603842810a01543eae86a51279f9886b901266e1",
        "5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d",
    ),
    "val.en": (
        "46573ce391ae227f1c72f873392436a20ef18e0a6d518098cfbd70b77c8572ec",
        "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
    ),
    "val.de": (
        "97232bd273eceb7207f689527386a97e4be2616b18ada47576bdaf96c8ae1f00",
        "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
    ),
    "val.fr": (
        "b303e301aa21fe7822a846b2b3fb2d5a1121ec807cd5b1d006fb7b2b5507168a",
        "5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc",
    ),
    "test_2016_flickr.en": (
        "5b7f32627cf99eced828311b955dae9800bb52bc8b91cf8b6526829e605b29d2",
        "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
    ),
    "test_2016_flickr.de": (
        "c6a33d39d48f9f510de147651316cd9d918e09ad0219df734a2f16b6baccacc4",
        "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
    ),
    "test_2016_flickr.fr": (
        "1463bd5960f9bfe098ec3cd752d3df0c49c84dc646fb518964a29232658cd836",
        "cb3160d69b002bb638e66cc7612fcd56cb0af82eadc9c142dedc438afb885ef6",
    ),
    "test_2017_flickr.en": (
        "c9d1dfd7a26add989382e534af235af9f0f658b2a30e7eb0efdaf142496ee54f",
        "ce1450ddc5ab0834502579d77a170849952e15a2938b34cc503bdc25ebb4fb98",
    ),
    "test_2017_flickr.de": (
        "02067e4a9402786a4fcb8c1b6f4307e4a5073ced64800abead5273b54f5f31f6",
        "c3078bc3b36808bf9d20eb2347ed6137016179ef59ec0d2b9b8ecc3fb2880081",
    ),
    "test_2017_flickr.fr": (
        "c0583117a47b31e8a6c6a97cfe8de153e462074668f4e994764fcc80b21d33b4",
        "6f3764e31dac41e9455e612958bcfd4e877c5e15cd66df2c2b2be6d9bd83e5b6",
    ),
    "test_2017_mscoco.en": (
        "fe69ae004d71c42ead0301e70c57de5b1b6b5fb7f52210d42b22801e98e656f3",
        "43051fdfa86fd5395182e718a94ca67b1b227b9f7c79596ff0f6b813216981d2",
    ),
    "test_2017_mscoco.de": (
        "e2825990b8a4e5289d2cdba801d57c187810bab9b4f5d87a30c35800a0d871b6",
        "58277df3c75f92f7145a11b910b553d1cf82c439249d4dc237c899609eafac22",
    ),
    "test_2017_mscoco.fr": (
        "0b6a4620f02b6b9acf7811fda23f90fed9c6baa0b96aa224db50a273078c84d1",
        "39cde3f43f32b0a6bf29ce4917a46329ff32e53070c2fac87506695a740ae0a0",
    ),
}
