"""What every translation experiment shares: its data by flag, encoded."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from attn_research.data.aligned import AlignedText
from attn_research.data.batching import EncodedPairs
from attn_research.data.contractions import Uncontracted
from attn_research.data.corpus import Corpus, Mixture, Pair
from attn_research.data.encoding import encode_pairs
from attn_research.data.grammar import Grammar
from attn_research.data.multi30k import Multi30k
from attn_research.data.records import Records, write_records
from attn_research.data.resegment import drop_merges
from attn_research.data.tatoeba import Tatoeba
from attn_research.data.text import HuggingFace, TextFiles
from attn_research.data.tokenizers import PAD, SubwordTokenizer, Tokenizer, WordTokenizer
from attn_research.data.treebank import LINES, Tree, Treebank
from experiments.paper import Config, knob

TESTS = {
    "grammar": ("test",),
    "multi30k": ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco"),
    "hansards": ("test",),
    "treebank": ("test",),
    "text": ("test",),
    "huggingface": ("test",),
}


@dataclasses.dataclass(frozen=True)
class TranslationConfig(Config):
    """The knobs of data, batches and search."""

    data: Literal["grammar", "multi30k", "hansards", "treebank", "text", "huggingface"] = knob(
        "grammar",
        "the built-in corpus, Multi30k, aligned Hansards, WSJ trees, parallel files, or a Hugging "
        "Face set",
    )
    languages: str = knob("en-fr", "source and target language, as in en-de")
    data_dir: str = knob("", "folder of data sets; ATTN_DATA_DIR if unset")
    train: str = knob("", "--data=text: the training files, as SOURCE,TARGET")
    dev: str = knob("", "--data=text: the development files, as SOURCE,TARGET")
    test: str = knob("", "--data=text: the test files, as SOURCE,TARGET")
    dataset: str = knob("", "--data=huggingface: a name on the hub, or a folder")
    dataset_config: str = knob("", "--data=huggingface: the configuration of the data set")
    records: str = knob("", "folder for encoded training pairs; in memory if unset")
    join: str = knob("1", "consecutive pairs made one; 1,2,3 trains and tests on each number")
    train_pairs: int = knob(100_000, "--data=grammar: training pairs", 1)
    test_pairs: int = knob(600, "--data=grammar: test pairs", 1)
    same_gender: float = knob(
        0.0,
        "--data=grammar: share of the pairs of nouns that one pronoun can mean with one gender",
        0.0,
    )
    tokenizer: Literal["words", "moses", "bpe"] = knob(
        "words", "split at spaces, by Moses's rules, or into joint SentencePiece subwords"
    )
    vocab_size: int = knob(30_000, "ids a language, special ones included; joint for bpe", 5)
    bpe_dropout: float = knob(
        0.0, "--tokenizer=bpe: probability that a merge is left out in training", 0.0
    )
    segmentations: int = knob(8, "--bpe_dropout: ways each training sentence is cut", 1)
    max_words: int = knob(50, "longest training sentence", 1)
    batching: Literal["sorted", "tokens", "packed"] = knob(
        "sorted",
        "20 minibatches sorted by length, as in 2014; by a budget of tokens; or sentences packed "
        "into rows",
    )
    batch_size: int = knob(80, "sentences in a minibatch", 1)
    batch_tokens: int = knob(2000, "--batching=tokens, packed: padded positions of a side", 1)
    row_length: int = knob(128, "--batching=packed: positions of a row", 2)
    bound_step: int = knob(
        10, "batches are padded to lengths this far apart; fewer shapes, or less padding", 1
    )
    beam_size: int = knob(5, "hypotheses kept in search", 1)
    limit_times: float = knob(2.0, "a translation has at most this many times the source's ids,", 0)
    limit_plus: int = knob(10, "plus this many", 1)
    length_penalty: float = knob(1.0, "alpha of Wu et al. 2016, equation 14", 0.0)
    length_offset: float = knob(5.0, "the 5 of that equation; 0: lengths count as they are", 0.0)
    replace_unknown: bool = knob(
        False, "also score with unknown words replaced by what they are aligned with"
    )
    dictionary_pairs: int = knob(10_000, "training pairs its dictionary is learned from", 1)
    soft_links: bool = knob(False, "also keep and score the weights of forced alignments")


@dataclasses.dataclass(frozen=True)
class Task:
    """A corpus, encoded."""

    languages: tuple[str, str]
    tokenizers: tuple[Tokenizer, Tokenizer]
    train: EncodedPairs
    dev: EncodedPairs
    tests: dict[str, Sequence[Pair]]
    about: dict[str, Any]


def corpora(config: TranslationConfig) -> list[Corpus]:
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
            return [Treebank(config.data_dir or None, LINES[languages[1]])]
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
def pairs_of(config: TranslationConfig, split: str) -> Sequence[Pair]:
    """The pairs of a split, those of several joins one after the other.

    With --tokenizer=moses all but the training pairs are tokenized here, once: their words are what
    BLEU counts. Training pairs are tokenized as they are encoded, which may be a stream.
    """
    found = [corpus.split(split) for corpus in corpora(config)]
    pairs = found[0] if len(found) == 1 else [pair for pairs in found for pair in pairs]
    return pairs if split == "train" else _in_words(config, pairs)


def _in_words(config: TranslationConfig, pairs: Sequence[Pair]) -> Sequence[Pair]:
    """The pairs with a space between words, as --tokenizer=moses finds them."""
    if config.tokenizer != "moses":
        return pairs
    sides = [WordTokenizer((), language, moses=True) for language in config.languages.split("-")]
    return [
        Pair(*(" ".join(t.words(line)) for t, line in zip(sides, pair[:2], strict=True)))
        for pair in pairs
    ]


def sample_text(config: TranslationConfig, count: int) -> list[Pair]:
    """Training pairs in words, evenly spread over those that are not too long."""
    pairs = pairs_of(_text_of(config), "train")
    chosen = [pairs[i] for i in range(0, len(pairs), max(1, len(pairs) // count))][:count]
    return [
        pair
        for pair in _in_words(config, chosen)
        if all(1 <= len(side.split()) <= config.max_words for side in pair[:2])
    ]


@functools.lru_cache(maxsize=4)
def make_tokenizers(config: TranslationConfig) -> tuple[Tokenizer, Tokenizer]:
    """Tokenizers made from the training text of a config."""
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


def load(config: TranslationConfig) -> Task:
    """Reads, tokenizes and encodes what a config names."""
    # The rows of a table differ in more than their data: what they share is cached by it alone.
    return _load(_only(config, *_TEXT, *_ENCODING))


@functools.lru_cache(maxsize=2)
def _load(config: TranslationConfig) -> Task:
    text = _text_of(config)
    tokenizers = make_tokenizers(text)
    train = _encode_train(config, text, tokenizers)
    if config.tokenizer == "moses":
        tokenizers = tuple(dataclasses.replace(each, moses=False) for each in tokenizers)
    dev = encode_pairs(pairs_of(text, "dev"), *tokenizers)
    tests = test_pairs(config)
    if config.bpe_dropout:
        if config.tokenizer != "bpe":
            raise ValueError(f"--bpe_dropout={config.bpe_dropout} needs --tokenizer=bpe")
        rate, copies = config.bpe_dropout, config.segmentations
        train = drop_merges(train, tokenizers[0], rate, seed=0, copies=copies)
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
    return Task(tuple(config.languages.split("-")), tokenizers, train, dev, tests, about)


def test_pairs(config: TranslationConfig) -> dict[str, Sequence[Pair]]:
    """The test sets of a config."""
    text = _text_of(config)
    return {name: pairs_of(text, name) for name in TESTS[config.data]}


def gold(config: TranslationConfig) -> dict[str, Sequence[Pair] | Sequence[Tree]]:
    """What the test sets of a config are scored against."""
    if config.data == "treebank":
        (corpus,) = corpora(config)
        return {name: corpus.trees(name) for name in TESTS[config.data]}
    return test_pairs(config)


# The knobs that make the text of a run, and those that make ids of it.
_TEXT = (
    "data",
    "languages",
    "data_dir",
    "train",
    "dev",
    "test",
    "dataset",
    "dataset_config",
    "join",
    "train_pairs",
    "test_pairs",
    "same_gender",
    "tokenizer",
    "vocab_size",
)
_ENCODING = ("records", "max_words", "bpe_dropout", "segmentations")


def _only(config: TranslationConfig, *names: str) -> TranslationConfig:
    """A config with these values of another, and else the defaults."""
    return TranslationConfig(**{name: getattr(config, name) for name in names})


def _text_of(config: TranslationConfig) -> TranslationConfig:
    return _only(config, *_TEXT)


def _encode_train(config, text, tokenizers) -> EncodedPairs:
    if not config.records:
        return encode_pairs(pairs_of(text, "train"), *tokenizers, max_words=config.max_words)
    folder = Path(config.records)
    if not (folder / "metadata.json").exists():
        (corpus,) = corpora(text)
        stream = corpus.stream("train") if isinstance(corpus, TextFiles) else corpus.split("train")
        languages = corpus.languages
        write_records(stream, *tokenizers, folder, languages=languages, max_words=config.max_words)
    records = Records(folder)
    made_by = records.metadata.source_tokenizer, records.metadata.target_tokenizer
    if made_by != tuple(t.fingerprint for t in tokenizers) or (
        records.metadata.max_words != config.max_words
    ):
        raise ValueError(
            f"--records={folder} holds pairs of another text, vocabulary or --max_words: "
            "name another folder"
        )
    return records


def limits(config: TranslationConfig, source: np.ndarray) -> np.ndarray:
    """The most ids of a translation, by its own source, so that it does not depend on its batch."""
    return longest(config, (source != PAD).sum(axis=1)).astype(np.int32)


def longest(config: TranslationConfig, length):
    """The most ids of a translation of a source of that many."""
    return np.ceil(config.limit_times * length) + config.limit_plus
