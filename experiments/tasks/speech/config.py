"""The configs of speech: sounds and their features, augmentation, batches, transcripts, search."""

import dataclasses
from typing import Literal

from experiments.harness.config import data_folder, fraction, setting

_DRAWN, _FSDD = {"data": ("tones",)}, ("fsdd", "fsdd_strings")
_JOINED = {"data": ("tones", "fsdd_strings")}


@dataclasses.dataclass(frozen=True)
class SoundConfig:
    """Sounds, and the features that are made of them."""

    data: str = setting("tones", "Data set.")
    data_dir: str = data_folder(*_FSDD)
    audio_dir: str = setting(
        "", "Folder of sounds of --data=audio.", path=True, needs={"data": ("audio",)}
    )
    held_out_speaker: int = setting(
        0,
        "Number, in the order of names, of a speaker who is in the test set alone; 0: all are in "
        "both.",
        0,
        needs={"data": ("tones", *_FSDD)},
    )
    train_words: int = setting(400, "Recordings of words to train on.", 10, needs=_DRAWN)
    test_words: int = setting(
        200, "Recordings of words to test on, and half of it for development.", 20, needs=_DRAWN
    )
    seconds: float = setting(1.0, "Length that sounds are padded to, in seconds.", 0.1)
    num_mels: int = setting(80, "Mel bands of the features.", 1)


@dataclasses.dataclass(frozen=True)
class SoundAugmentConfig:
    """Augmentation of training sounds."""

    time_shift: float = setting(
        0.1, "Seconds of silence before a sound: half of it, in training any up to it.", 0.0
    )
    speed: float = setting(
        1.0, "Factor that a sound is played faster or slower by, at most; 1: none.", 1.0
    )
    time_mask: int = setting(0, "Frames that SpecAugment masks, at most.", 0)
    mel_mask: int = setting(0, "Mel bands that SpecAugment masks, at most.", 0)


@dataclasses.dataclass(frozen=True)
class WordSoundsConfig(SoundConfig):
    """Sounds of single words."""

    data: Literal["tones", "fsdd", "audio"] = setting(
        "tones",
        "Data set: built-in words of two vowels, spoken digits (fsdd), or a folder of sounds with "
        "train/CLASS/*.wav and test/CLASS/*.wav (audio).",
    )
    num_classes: int = setting(10, "Classes of the data.", 2)


@dataclasses.dataclass(frozen=True)
class StringSoundsConfig(SoundConfig):
    """Sounds of several words."""

    data: Literal["tones", "fsdd_strings", "audio"] = setting(
        "tones",
        "Data set: strings of built-in words of two vowels, of spoken digits (fsdd_strings), or a "
        "folder of sounds with train.tsv and test.tsv, a file, a tab and its transcript on each "
        "line (audio).",
    )
    max_words: int = setting(5, "Words of a string, at most.", 1, needs=_JOINED)
    dev_strings: int = setting(100, "Strings of the development set.", 1, needs=_JOINED)
    test_strings: int = setting(300, "Strings of the test set.", 1, needs=_JOINED)


@dataclasses.dataclass(frozen=True)
class SpeechClassificationConfig:
    """Classification of words."""

    sound: WordSoundsConfig = WordSoundsConfig()
    augment: SoundAugmentConfig = SoundAugmentConfig()
    batch_size: int = setting(64, "Sounds of a batch.", 1)
    label_smoothing: float = fraction(0.1, "Label smoothing: probability spread over the classes.")


@dataclasses.dataclass(frozen=True)
class SpeechRecognitionConfig:
    """Recognition of strings of words."""

    sound: StringSoundsConfig = StringSoundsConfig(seconds=4.5)
    augment: SoundAugmentConfig = SoundAugmentConfig()
    batch_size: int = setting(32, "Sounds of a batch.", 1)
    tokenizer: Literal["words", "bytes"] = setting(
        "words", "Tokens of transcripts: words of the training set, or bytes."
    )
    vocab_size: int = setting(500, "Most tokens, special ids included.", 5)
    max_tokens: int = setting(16, "Tokens of a transcript, its end included, at most.", 2)
    beam_size: int = setting(4, "Hypotheses of beam search, beside greedy search.", 1)
    label_smoothing: float = fraction(
        0.1, "Label smoothing: probability spread over the vocabulary."
    )
