"""Built-in words: harmonic tones whose two resonances glide from one vowel to another.

A word is an ordered pair of vowels, and most pairs are words in both orders, so that a word is not
known by its sounds without their order. Recordings are a pure function of (split, index).
"""

import zlib

import numpy as np
from jaxtyping import Float

from attn_research.data.audio.files import RATE, normalize
from attn_research.data.audio.utterances import Recordings

# The two resonances of a vowel, in Hz.
VOWELS = {"a": (730, 1100), "e": (530, 1850), "i": (280, 2300), "o": (570, 850), "u": (310, 870)}
WORDS = ("ae", "ai", "au", "ea", "eo", "ia", "oe", "ou", "ua", "uo")
SPEAKERS = 8
_HIGHEST = 3200  # Hz of a harmonic
_BANDWIDTH = 90


def make_recordings(split: str, count: int) -> Recordings:
    """`count` recordings of the words in turn, by speakers in turn, each of whom says all."""
    sounds, texts, speakers = [], [], []
    for index in range(count):
        rng = np.random.default_rng((zlib.crc32(split.encode()), index))
        word, speaker = WORDS[index % len(WORDS)], (index + index // len(WORDS)) % SPEAKERS
        sounds.append(_say(word, speaker, rng))
        texts.append(word)
        speakers.append(f"voice {speaker + 1}")
    return Recordings(sounds, texts, speakers)


def _say(word: str, speaker: int, rng: np.random.Generator) -> Float[np.ndarray, "T"]:
    """A word: its speaker has a pitch and a length of the vocal tract, each time a little other."""
    own = np.random.default_rng((1, speaker))
    pitch, tract = own.uniform(110, 230), own.uniform(0.9, 1.15)
    pitch, tract = pitch * rng.uniform(0.95, 1.05), tract * rng.uniform(0.97, 1.03)
    count = round(rng.uniform(0.22, 0.45) * RATE)
    place = np.linspace(0, 1, count)
    glide = 1 / (1 + np.exp(-(place - rng.uniform(0.4, 0.6)) * 14))
    first, second = (np.array(VOWELS[vowel]) * tract for vowel in word)
    resonances = first[:, None] + (second - first)[:, None] * glide
    falling = pitch * (1.05 - 0.1 * place)
    phase = 2 * np.pi * np.cumsum(falling) / RATE
    sound = rng.normal(0, 0.02, count)
    for harmonic in range(1, int(_HIGHEST / pitch) + 1):
        away = (harmonic * falling - resonances) / _BANDWIDTH
        sound += np.sum(1 / (1 + away**2), axis=0) * np.sin(harmonic * phase)
    fade = np.minimum(1, np.minimum(place, 1 - place) * 10)
    return normalize((sound * fade).astype(np.float32))
