"""Sounds by config, and the arrays that are made of one."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from attn_research.data.audio import folders
from attn_research.data.audio.augment import change_speed, spec_augment
from attn_research.data.audio.files import RATE, normalize, read_audio
from attn_research.data.audio.fsdd import load_fsdd
from attn_research.data.audio.mel import FRAME_SECONDS, HOP, LEAST, SPAN, log_mel
from attn_research.data.audio.tones import make_recordings
from attn_research.data.audio.utterances import Corpus, Joined, Utterance, hold_out
from attn_research.data.download import find_data_file
from attn_research.data.files import user_path
from attn_research.types import Float
from experiments.tasks.speech.config import (
    SoundAugmentConfig,
    SoundConfig,
    StringSoundsConfig,
    WordSoundsConfig,
)

SPLITS = ("train", "dev", "test")
FILLED = 0.85  # of the config's seconds that a string takes at most: it may be played slower


def check(config: SoundConfig) -> None:
    """ValueError or FileNotFoundError for sounds that there are not, before any is read."""
    if config.data == "audio":
        if config.held_out_speaker:
            raise ValueError("--held_out_speaker: speakers of --data=audio are not known")
        if not config.audio_dir:
            raise ValueError("--data=audio needs --audio_dir")
        if not user_path(config.audio_dir).is_dir():
            raise FileNotFoundError(f"--audio_dir={config.audio_dir}: no such folder")
    elif config.data != "tones":
        find_data_file("fsdd/fsdd.npz", config.data_dir or None)


@functools.lru_cache(maxsize=2)  # the rows of a table share their sounds
def load_words(config: WordSoundsConfig) -> Corpus:
    """The recordings of single words that a config names."""
    if config.data == "audio":
        return folders.read_classes(user_path(config.audio_dir))
    return _recorded(config)


@functools.lru_cache(maxsize=2)
def load_strings(config: StringSoundsConfig) -> Corpus:
    """The strings of words that a config names."""
    if config.data == "audio":
        return folders.read_transcripts(user_path(config.audio_dir))
    counts = (config.dev_strings, config.dev_strings, config.test_strings)
    return Corpus(
        *(
            Joined(words, count, config.max_words, FILLED * config.seconds, split)
            for split, (words, count) in enumerate(zip(_recorded(config), counts, strict=True))
        )
    )


def _recorded(config: SoundConfig) -> Corpus:
    """Recordings of single words."""
    if config.data == "tones":
        sizes = config.train_words, config.test_words // 2, config.test_words
        splits = dict(zip(SPLITS, map(make_recordings, SPLITS, sizes), strict=True))
    else:
        splits = load_fsdd(config.data_dir or None)
    if config.held_out_speaker:
        splits = hold_out(splits, config.held_out_speaker)
    return Corpus(**splits)


def held_out(config: SoundConfig, corpus: Corpus) -> dict[str, str]:
    """The name of the speaker who is held out, if any."""
    test = corpus.test.words if isinstance(corpus.test, Joined) else corpus.test
    return {"speaker": test.speakers[0]} if config.held_out_speaker else {}


def longest(config: SoundConfig, augment: SoundAugmentConfig) -> float:
    """The seconds of the longest sound that fits, played slowest and after most silence."""
    return (config.seconds - augment.time_shift) / augment.speed


def longest_read(config: SoundConfig, augment: SoundAugmentConfig) -> float:
    """The seconds of the longest sound that fits as it is, without augmentation."""
    return config.seconds - augment.time_shift / 2


def too_long(
    config: SoundConfig, augment: SoundAugmentConfig, corpus: Corpus
) -> Iterator[tuple[str, float]]:
    """The names of the sounds of all splits that do not fit, with their seconds."""
    most = longest(config, augment)
    for split in corpus:
        for number in range(len(split)):
            if (lasts := len(split[number].samples) / RATE) > most:
                yield split.name(number), lasts


def num_frames(config: SoundConfig) -> int:
    """The frames of the features of every sound."""
    return round(config.seconds / FRAME_SECONDS)


class Heard(NamedTuple):
    """The features of a sound, the number of frames that are its own, and where its words are."""

    features: Float[np.ndarray, "F M"]
    frames: int
    times: Float[np.ndarray, "words 2"] | None


def hear(
    config: SoundConfig,
    augment: SoundAugmentConfig,
    utterance: Utterance,
    rng: np.random.Generator | None = None,
) -> Heard:
    """What is heard of an utterance, augmented where there is a generator.

    What is longer than the config's seconds is cut off at its end. Times are given without
    augmentation alone.
    """
    samples, times, shift = utterance.samples, utterance.times, augment.time_shift / 2
    if rng is not None:
        shift, times = augment.time_shift * rng.random(), None
        if augment.speed > 1:
            samples = change_speed(samples, augment.speed ** rng.uniform(-1, 1))
    size, before = num_frames(config), round(shift * RATE)
    kept = samples[: size * HOP - before]
    frames = min(size, -(-(before + len(kept)) // HOP) + 1)
    whole = np.zeros(frames * HOP, np.float32)
    whole[before : before + len(kept)] = kept[: len(whole) - before]
    features = log_mel(whole, config.num_mels)
    silence = max(features.max() - SPAN, LEAST)  # what features of more silence would be
    features = np.pad(features, [(0, size - frames), (0, 0)], constant_values=silence)
    if rng is not None and augment.time_mask + augment.mel_mask:
        features = spec_augment(features, rng, augment.time_mask, augment.mel_mask)
    return Heard(features, frames, None if times is None else times + before / RATE)


def read(name: str) -> Utterance:
    """The sound of a file, normalized as those of data sets are."""
    return Utterance(normalize(read_audio(user_path(name))), "")


def about(corpus: Corpus) -> dict[str, Any]:
    """The fingerprints of the splits, and the number of recordings to train on."""
    hashes = {split: [each.fingerprint] for split, each in zip(SPLITS, corpus, strict=True)}
    train = corpus.train.words if isinstance(corpus.train, Joined) else corpus.train
    return {"sha256": hashes, "train_sounds": len(train)}
