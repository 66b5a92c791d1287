"""Corpora of translation by config, with their tokenizers, encoded."""

import dataclasses
import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from attn_research.data.batching import EncodedPairs, spread_evenly
from attn_research.data.files import user_path, write_whole
from attn_research.data.grammar.grammar import Grammar
from attn_research.data.records import Records, write_records
from attn_research.data.text.aligned import AlignedText
from attn_research.data.text.bpe_dropout import apply_bpe_dropout
from attn_research.data.text.contractions import Uncontracted
from attn_research.data.text.corpus import Corpus, Mixture, Pair
from attn_research.data.text.encoding import encode_pairs
from attn_research.data.text.multi30k import Multi30k
from attn_research.data.text.parallel import HuggingFace, TextFiles
from attn_research.data.text.tatoeba import Tatoeba
from attn_research.data.text.tokenizers import SubwordTokenizer, Tokenizer, WordTokenizer
from attn_research.data.text.treebank import LINES, Tree, Treebank
from experiments.tasks.translation.config import TESTS, EncodingConfig, TextConfig
from experiments.tasks.translation.splits import check_references, encode_split

Tokenizers = tuple[Tokenizer, Tokenizer]


@dataclasses.dataclass(frozen=True)
class Data:
    """A corpus, encoded; of the test sets, the pairs as well."""

    tokenizers: Tokenizers
    train: EncodedPairs
    dev: EncodedPairs
    tests: dict[str, Sequence[Pair]]
    encoded_tests: dict[str, EncodedPairs]
    about: dict[str, Any]


def corpora(config: TextConfig) -> list[Corpus]:
    """The corpora a config names: one, or one for each number of joined pairs."""
    languages = tuple(config.languages.split("-"))
    if len(languages) != 2:
        raise ValueError(f"--languages={config.languages}: two languages, as in en-fr")
    joins = [int(n) if n.isdigit() else 0 for n in config.join.split(",")]
    if min(joins) < 1:
        raise ValueError(f"--join={config.join}: positive numbers, as in 1 or 1,2,3")
    if joins != [1] and config.data != "multi30k":
        raise ValueError(f"--join={config.join} joins captions of --data=multi30k only")
    match config.data:
        case "grammar":
            if languages != ("en", "fr"):
                raise ValueError(f"--languages={config.languages}: --data=grammar is en-fr")

            # The text is the same whatever the seed of a run.
            sizes = dict(train_size=config.train_pairs, test_size=config.test_pairs)
            return [Grammar(**sizes, same_gender=config.same_gender)]
        case "multi30k":
            return [Multi30k(languages, config.data_dir or None, join=join) for join in joins]
        case "hansards":
            if languages != ("en", "fr"):
                raise ValueError(f"--languages={config.languages}: --data=hansards is en-fr")
            folder = config.data_dir or None
            others = Multi30k(languages, folder), Tatoeba(languages, folder, tokenize=True)
            return [Mixture((AlignedText("hansards", folder), *map(Uncontracted, others)))]
        case "treebank":
            if languages[0] != "en" or languages[1] not in LINES:
                raise ValueError(
                    f"--languages={config.languages}: --data=treebank is en-tree, or en-tagged "
                    "with part-of-speech tags"
                )
            return [Treebank(config.data_dir or None, tagged=LINES[languages[1]])]
        case "text":
            files = {}
            for split in ("train", "dev", "test"):
                paths = tuple(getattr(config, split).split(","))
                if len(paths) != 2:
                    raise ValueError(f"--data=text needs --{split}=SOURCE,TARGET")
                files[split] = paths
            return [TextFiles(languages, files)]
        case "huggingface":
            if not config.dataset:
                raise ValueError("--data=huggingface needs --dataset=NAME or a folder")
            return [_Validated(config.dataset, languages, config.dataset_config or None)]


class _Validated(HuggingFace):
    """A Hugging Face data set, whose development split is called validation there."""

    def split(self, name: str) -> Sequence[Pair]:
        return super().split("validation" if name == "dev" else name)


@functools.lru_cache(maxsize=4)  # the rows of a table share their corpus
def pairs_of(config: TextConfig, split: str) -> Sequence[Pair]:
    """The pairs of a split, those of several joins one after the other.

    With --tokenizer=moses all but the training pairs are tokenized here, once: their words are what
    BLEU counts. Training pairs are tokenized as they are encoded, which may be a stream; the others
    are held, for the runs of a table are all scored with them.
    """
    found = [corpus.split(split) for corpus in corpora(config)]
    pairs = found[0] if len(found) == 1 else [pair for pairs in found for pair in pairs]
    return pairs if split == "train" else list(in_words(config, pairs))


def in_words(config: TextConfig, pairs: Sequence[Pair]) -> Sequence[Pair]:
    """The pairs with a space between words, as --tokenizer=moses finds them."""
    if config.tokenizer != "moses":
        return pairs
    sides = [WordTokenizer((), language, moses=True) for language in config.languages.split("-")]
    return [
        Pair(*(" ".join(t.words(line)) for t, line in zip(sides, pair[:2], strict=True)))
        for pair in pairs
    ]


def sample_text(config: TextConfig, max_words: int, count: int) -> list[Pair]:
    """Training pairs in words, evenly spread over those of at most `max_words` a side."""
    pairs = pairs_of(config, "train")
    chosen = [pairs[i] for i in spread_evenly(len(pairs), count)]
    return [
        pair
        for pair in in_words(config, chosen)
        if all(1 <= len(side.split()) <= max_words for side in pair[:2])
    ]


@functools.lru_cache(maxsize=4)
def make_tokenizers(config: TextConfig) -> Tokenizers:
    """The tokenizers of both sides, made from the training text."""
    pairs = pairs_of(config, "train")
    languages = config.languages.split("-")
    if config.tokenizer == "bpe":
        lines = (line for pair in pairs for line in pair[:2])
        joint = SubwordTokenizer.train(lines, vocab_size=config.vocab_size)
        return joint, joint
    return tuple(
        WordTokenizer.build(
            (pair[side] for pair in pairs),
            size=config.vocab_size - 4,
            language=language,
            moses=config.tokenizer == "moses",
        )
        for side, language in enumerate(languages)
    )


@functools.lru_cache(maxsize=2)  # the rows of a table share what they have in common
def load(text: TextConfig, encoding: EncodingConfig) -> Data:
    """Reads, tokenizes and encodes what a config names; what is scored at the end comes first."""
    if encoding.bpe_dropout and text.tokenizer != "bpe":
        raise ValueError(f"--bpe_dropout={encoding.bpe_dropout} needs --tokenizer=bpe")
    dev, tests = pairs_of(text, "dev"), test_pairs(text)
    check_references(gold(text))
    tokenizers = make_tokenizers(text)
    train = _encode_train(text, encoding, tokenizers)
    tokenizers = of_words(text, tokenizers)
    dev = encode_split("dev", dev, tokenizers)
    encoded = {name: encode_split(name, pairs, tokenizers) for name, pairs in tests.items()}
    if encoding.bpe_dropout:
        rate, copies = encoding.bpe_dropout, encoding.segmentations
        train = apply_bpe_dropout(train, tokenizers[0], rate, seed=0, copies=copies)
    lengths = np.asarray(train.lengths, np.int64)
    about = {
        "sha256": {
            split: [corpus.fingerprint(split) for corpus in corpora(text)]
            for split in ("train", "dev", *tests)
        },
        "train_pairs": len(train),
        "train_tokens": [int(n) for n in lengths.sum(axis=0)],
        "vocabulary": [tokenizer.vocab_size for tokenizer in tokenizers],
        "tokenizers": [tokenizer.fingerprint for tokenizer in tokenizers],
    }
    return Data(tokenizers, train, dev, tests, encoded, about)


def of_words(config: TextConfig, tokenizers: Tokenizers) -> Tokenizers:
    """The tokenizers for text that has a space between words already."""
    if config.tokenizer != "moses":
        return tokenizers
    return tuple(dataclasses.replace(each, moses=False) for each in tokenizers)


def test_pairs(config: TextConfig) -> dict[str, Sequence[Pair]]:
    """The test sets."""
    return {name: pairs_of(config, name) for name in TESTS[config.data]}


def gold(config: TextConfig) -> dict[str, Sequence[Pair] | Sequence[Tree]]:
    """What predictions on the test sets are scored against."""
    if config.data == "treebank":
        (corpus,) = corpora(config)
        return {name: corpus.trees(name) for name in TESTS[config.data]}
    return test_pairs(config)


def _encode_train(text: TextConfig, config: EncodingConfig, tokenizers: Tokenizers) -> EncodedPairs:
    if not config.records:
        return encode_pairs(pairs_of(text, "train"), *tokenizers, max_words=config.max_words)
    folder = user_path(config.records)
    kept, made_from = folder / "text.json", [c.fingerprint("train") for c in corpora(text)]
    if not (folder / "metadata.json").exists():
        (corpus,) = corpora(text)
        stream = corpus.stream("train") if isinstance(corpus, TextFiles) else corpus.split("train")
        languages = corpus.languages
        write_records(stream, *tokenizers, folder, languages=languages, max_words=config.max_words)
        write_whole(kept, json.dumps(made_from).encode())
    records = Records(folder)
    made_by = records.metadata.source_tokenizer, records.metadata.target_tokenizer
    if (
        made_by != tuple(t.fingerprint for t in tokenizers)
        or records.metadata.max_words != config.max_words
        # Another text can have the same vocabulary.
        or (kept.exists() and json.loads(kept.read_bytes()) != made_from)
    ):
        raise ValueError(
            f"--records={folder} holds pairs of another text, vocabulary or --max_words: "
            "name another folder"
        )
    return records
