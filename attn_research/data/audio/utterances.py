"""Utterances: sounds with their words, listed or joined from recordings of single words."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float

from attn_research.data.audio.files import RATE
from attn_research.data.batching import epoch_order
from attn_research.data.files import shorten

PAUSE = (0.05, 0.3)  # seconds of silence before, between and after joined words


class Utterance(NamedTuple):
    """A sound at 16 kHz, what is said in it, and where each word is, in seconds, where known."""

    samples: Float[np.ndarray, "T"]
    text: str
    times: Float[np.ndarray, "words 2"] | None = None


class Utterances(Protocol):
    """Utterances to train on, and the splits of which each is heard once."""

    def draw(self, seed: int, number: int) -> Utterance:
        """Utterance `number` of a run's training: a pure function of (seed, number)."""
        ...

    def __len__(self) -> int:
        """The number of utterances in an epoch."""
        ...

    def __getitem__(self, index: int) -> Utterance: ...

    def name(self, index: int) -> str:
        """What an error calls an utterance."""
        ...

    @property
    def texts(self) -> Sequence[str]:
        """What is said in each."""
        ...

    @property
    def fingerprint(self) -> str:
        """The SHA-256, in hex, of sounds and texts."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Recordings:
    """Recordings with what is said in each, and its speaker and its file, where known."""

    sounds: Sequence[np.ndarray]
    texts: Sequence[str]
    speakers: Sequence[str] = ()
    files: Sequence[Path] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> Utterance:
        return Utterance(self.sounds[index], self.texts[index])

    def name(self, index: int) -> str:
        """What an error calls a recording: its file, or what is said in it."""
        return str(self.files[index]) if self.files else repr(shorten(self.texts[index]))

    def draw(self, seed: int, number: int) -> Utterance:
        """Utterance `number` of shuffled epochs."""
        epoch, place = divmod(number, len(self))
        return self[int(epoch_order(seed, epoch, len(self))[place])]

    def choose(self, indices: Sequence[int]) -> "Recordings":
        """Some of the recordings, in that order."""
        parts = (self.sounds, self.texts, self.speakers, self.files)
        return Recordings(*([part[i] for i in indices] if len(part) else () for part in parts))

    @functools.cached_property
    def by_speaker(self) -> list[list[int]]:
        """The recordings of each speaker."""
        names = sorted(set(self.speakers))
        return [[i for i, who in enumerate(self.speakers) if who == name] for name in names]

    @functools.cached_property
    def fingerprint(self) -> str:
        """The SHA-256, in hex, of sounds and texts."""
        digest = hashlib.sha256("\n".join(self.texts).encode())
        for sound in self.sounds:
            digest.update(np.ascontiguousarray(sound, "<f4").data)
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class Joined:
    """Strings of 1 to `max_words` words of one speaker, joined from recordings of single words.

    There is silence before, between and after them, so that the times of words are exact. Each is a
    function of its seed and number; a word that would end after `seconds` is left out. The `count`
    of them that are listed are those of seed 0 and of `split`, a number, so that splits with as
    many recordings have other strings. ValueError for a recording that is too long to be one.
    """

    words: Recordings
    count: int
    max_words: int
    seconds: float
    split: int = 0

    def __post_init__(self) -> None:
        most = self.seconds - 2 * PAUSE[1]
        for index, sound in enumerate(self.words.sounds):
            if (lasts := len(sound) / RATE) > most:
                raise ValueError(
                    f"the recording {self.words.name(index)} lasts {lasts:.2f} seconds, and a "
                    f"string of {self.seconds:.2f} seconds has room for {most:.2f}: give more "
                    "seconds"
                )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Utterance:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self._join(np.random.default_rng((0, 1 + self.split, index)))

    def name(self, index: int) -> str:
        """What an error calls a string: what is said in it."""
        return repr(shorten(self.texts[index]))

    def draw(self, seed: int, number: int) -> Utterance:
        """String `number` of the training of a seed, drawn anew each time."""
        return self._join(np.random.default_rng((seed, 0, number)))

    def _join(self, rng: np.random.Generator) -> Utterance:
        of_speaker = self.words.by_speaker
        chosen = of_speaker[int(rng.integers(len(of_speaker)))]
        parts, texts, times, at, after = [], [], [], 0, 0
        for index in rng.choice(chosen, int(rng.integers(1, self.max_words + 1))):
            pause, last = (round(float(rng.uniform(*PAUSE)) * RATE) for _ in range(2))
            sound = self.words.sounds[index]
            begin, end = at + pause, at + pause + len(sound)
            if texts and end + last > self.seconds * RATE:
                break
            parts += [np.zeros(pause, np.float32), sound]
            texts.append(self.words.texts[index])
            times.append((begin / RATE, end / RATE))
            at, after = end, last
        parts.append(np.zeros(after, np.float32))
        return Utterance(np.concatenate(parts), " ".join(texts), np.array(times))

    @functools.cached_property
    def texts(self) -> list[str]:
        """What is said in each of those listed."""
        return [self[index].text for index in range(self.count)]

    @property
    def fingerprint(self) -> str:
        """The SHA-256, in hex, of the recordings and of how they are joined."""
        drawn = f"{self.count} {self.max_words} {self.seconds} {PAUSE} {self.split}"
        return hashlib.sha256(f"{self.words.fingerprint} {drawn}".encode()).hexdigest()


class Corpus(NamedTuple):
    """Utterances by split."""

    train: Utterances
    dev: Utterances
    test: Utterances


def hold_out(splits: Mapping[str, Recordings], number: int) -> dict[str, Recordings]:
    """The splits with all recordings of a speaker as test, and none of them in train and dev.

    Speakers are numbered from 1 in the order of their names; ValueError where there is no such.
    """
    names = sorted({name for split in splits.values() for name in split.speakers})
    if not 1 <= number <= len(names):
        among = ", ".join(f"{place} {name}" for place, name in enumerate(names, 1))
        raise ValueError(f"--held_out_speaker={number}: the speakers are {among or 'not known'}")
    name, found, tests = names[number - 1], {}, []
    for split, each in splits.items():
        own = [i for i, who in enumerate(each.speakers) if who == name]
        tests.append(each.choose(own))
        found[split] = each.choose([i for i in range(len(each)) if i not in set(own)])
    if empty := [split for split, each in found.items() if split != "test" and not len(each)]:
        raise ValueError(f"--held_out_speaker={number}: {empty[0]} has no recordings but of {name}")
    parts = zip(*((one.sounds, one.texts, one.speakers) for one in tests), strict=True)
    return found | {"test": Recordings(*([x for each in part for x in each] for part in parts))}
