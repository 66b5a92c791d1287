"""The config of translation, in parts: text, encoding, batches, loss, search and alignments."""

import dataclasses
from typing import Literal

from experiments.harness.config import data_folder, fraction, setting
from experiments.tasks.batching import BATCHING, BatchingConfig

TESTS = {
    "grammar": ("test",),
    "multi30k": ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco"),
    "hansards": ("test",),
    "treebank": ("test",),
    "text": ("test",),
    "huggingface": ("test",),
}


# What some values of `TextConfig` are for.
_FILES, _HUB, _GRAMMAR = ({"data": (name,)} for name in ("text", "huggingface", "grammar"))


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Text: the pairs of sentences and their tokenizers."""

    data: Literal["grammar", "multi30k", "hansards", "treebank", "text", "huggingface"] = setting(
        "grammar",
        "Data set: the built-in corpus, Multi30k, word-aligned Hansards, WSJ trees, parallel text "
        "files, or a Hugging Face data set.",
    )
    languages: str = setting("en-fr", "Languages of source and target, as in en-de.")
    data_dir: str = data_folder("multi30k", "hansards", "treebank")
    train: str = setting(
        "", "Training files SOURCE,TARGET of --data=text.", path=True, needs=_FILES
    )
    dev: str = setting(
        "", "Development files SOURCE,TARGET of --data=text.", path=True, needs=_FILES
    )
    test: str = setting("", "Test files SOURCE,TARGET of --data=text.", path=True, needs=_FILES)
    dataset: str = setting(
        "", "Name on the hub, or folder, of --data=huggingface.", path=True, needs=_HUB
    )
    dataset_config: str = setting(
        "", "Configuration of the data set of --data=huggingface.", needs=_HUB
    )
    join: str = setting(
        "1",
        "Numbers of consecutive captions of --data=multi30k that are joined into one, as in 1,2,3.",
        needs={"data": ("multi30k",)},
    )
    train_pairs: int = setting(100_000, "Training pairs of --data=grammar.", 1, needs=_GRAMMAR)
    test_pairs: int = setting(600, "Test pairs of --data=grammar.", 1, needs=_GRAMMAR)
    same_gender: float = fraction(
        0.0,
        "Fraction of the pairs of nouns that a pronoun of --data=grammar may stand for which have "
        "one gender.",
        needs=_GRAMMAR,
    )
    tokenizer: Literal["words", "moses", "bpe"] = setting(
        "words", "Tokenizer: words between spaces, Moses's rules, or joint SentencePiece subwords."
    )
    vocab_size: int = setting(
        30_000,
        "Vocabulary size of a language, special ids included; of both for --tokenizer=bpe.",
        5,
    )


@dataclasses.dataclass(frozen=True)
class EncodingConfig:
    """Encoding: training pairs as ids."""

    records: str = setting(
        "", "Folder for encoded training pairs; unset, they are held in memory.", path=True
    )
    max_words: int = setting(50, "Words of the longest training sentence.", 1)
    bpe_dropout: float = fraction(
        0.0,
        "Probability that a merge of --tokenizer=bpe is left out in training.",
        needs={"tokenizer": ("bpe",)},
    )
    segmentations: int = setting(
        8,
        "Segmentations of each training sentence that --bpe_dropout draws.",
        1,
        needs={"bpe_dropout": ()},
    )


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The loss."""

    label_smoothing: float = fraction(
        0.0, "Label smoothing: probability spread over the vocabulary."
    )
    loss_per: Literal["token", "sentence"] = setting(
        "token", "Unit that the gradient of a batch is the mean over."
    )
    loss_chunk: int = setting(
        0, "Target tokens whose logits are held in memory at once; 0: as many as are fast.", 0
    )


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Beam search."""

    beam_size: int = setting(5, "Hypotheses of a beam.", 1)
    max_length_factor: float = setting(
        2.0,
        "Largest number of ids of a translation for each id of its source, before the offset.",
        0,
    )
    max_length_offset: int = setting(10, "Ids that a translation may have beyond that.", 1)
    length_penalty: float = setting(
        1.0, "Exponent alpha of the length penalty of Wu et al. 2016, equation 14.", 0.0
    )
    length_offset: float = setting(
        5.0,
        "Constant of that equation, 5 there; 0 divides by the length itself.",
        0.0,
        needs={"length_penalty": ()},
    )


@dataclasses.dataclass(frozen=True)
class AlignmentConfig:
    """Alignments: what is made of attention weights."""

    replace_unknown: bool = setting(
        False,
        "Also score translations with unknown words replaced by what they attend to.",
        needs={"tokenizer": ("words", "moses")},  # subwords leave no word unknown
    )
    dictionary_pairs: int = setting(
        10_000,
        "Training pairs that the dictionary of --replace_unknown is learned from.",
        1,
        needs=[{"tokenizer": ("words", "moses")}, {"replace_unknown": ()}],
    )
    soft_links: bool = setting(
        False,
        "Also keep and score the attention weights of forced decoding.",
        needs={"data": ("grammar", "hansards")},  # the others have no gold links
    )
    bleu_every: int = setting(
        0, "Steps between two translations of the development set for its BLEU; 0: never.", 0
    )


@dataclasses.dataclass(frozen=True)
class TranslationConfig:
    """Translation."""

    text: TextConfig = TextConfig()
    encoding: EncodingConfig = EncodingConfig()
    batching: BatchingConfig = BATCHING
    loss: LossConfig = LossConfig()
    search: SearchConfig = SearchConfig()
    alignment: AlignmentConfig = AlignmentConfig()
