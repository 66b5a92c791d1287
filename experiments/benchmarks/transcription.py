"""Speed of Whisper's transcripts, and CTranslate2's.

python -m experiments.benchmarks.transcription --checkpoint=FOLDER --audio=a.wav,b.wav \\
    --peer_python=PATH

FOLDER is Whisper in CTranslate2's format, which both systems read, in float32. Task "window": both
are given every sound with silence up to 30 seconds. Task "alone": this code is given the sound with
a second of silence after it, CTranslate2 the window that it needs. Both go from features to tokens,
greedily, a sound at a time; a line after each task, and the result, say of how many sounds the
tokens are equal.
The peer needs `pip install -e .[peers]`, in this environment or in that of `--peer_python`. See
`experiments.benchmarks.comparison` for the method.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from experiments.benchmarks import comparison
from experiments.harness.path_flags import define_path

MOST_TOKENS = 224
SILENCE = 1.0  # seconds


def our_transcripts(config: dict) -> comparison.Run:
    """Greedy search by this code's Whisper."""
    from attn_research.decoding import Beam
    from experiments.published.model import load_published
    from experiments.published.transcription import search, special_ids

    model = load_published(config["checkpoint"])
    special, name = special_ids(model), "window" if config["in_window"] else "alone"

    def run(batch):
        sound = batch[name], batch[f"{name}_valid"]
        found = search(model.network, Beam(1), special, MOST_TOKENS, model.on_device, *sound)
        tokens = np.asarray(found.tokens[0, 0])[: int(found.lengths[0, 0])]
        _save(config, "ours", batch, [t for t in tokens.tolist() if t != special.end])
        return tokens

    return run


COMPARISON = comparison.Comparison(
    "experiments.benchmarks.transcription",
    our_transcripts,
    {"ctranslate2": ("transcription_ctranslate2", {})},
    maker="make_transcripts",
    devices=1,
)


def _save(config: dict, name: str, batch: comparison.Batch, tokens: Sequence[int]) -> None:
    path = Path(config["folder"]) / f"{name}.{int(batch['number'])}.json"
    path.write_text(json.dumps(list(tokens)))


def write_task(folder: Path, config: dict) -> dict:
    """The features of every sound, alone and in its window, and which of the frames are real."""
    from attn_research.data.audio.files import read_audio
    from attn_research.data.files import user_path
    from experiments.published.model import load_published
    from experiments.published.transcription import hear

    model, batches, seconds = load_published(config["checkpoint"]), [], 0.0
    for number, name in enumerate(config["audio"]):
        samples = read_audio(user_path(name))
        window, alone = (hear(model, samples, name, silence=each) for each in (None, SILENCE))
        seconds += window.frames / 100
        batches.append(
            {
                "number": np.array(number),
                "window": window.features,
                "window_valid": window.valid,
                "alone": alone.features,
                "alone_valid": alone.valid,
            }
        )
    about = comparison.write_batches(folder, config, batches)
    kept = {name: about[name] for name in ("batches", "target_tokens")}
    return kept | {"seconds_of_sound": round(seconds, 2)}


def tasks() -> Iterator[comparison.Task]:
    """Each way to give sounds to this code."""
    values = flags.FLAGS
    names = values.audio.split(",")
    for padded in (True, False):

        def write(folder: Path, padded: bool = padded) -> dict:
            config = {"checkpoint": values.checkpoint, "audio": names, "in_window": padded}
            return write_task(folder, config | {"folder": str(folder)})

        label = {"sounds": "window" if padded else "alone"}
        yield comparison.Task(label, write, lambda folder: agreement(folder, len(names)))


def agreement(folder: Path, count: int) -> dict:
    """Of how many sounds the tokens of this code are those of each peer that ran."""
    ours = [(folder / f"ours.{number}.json").read_text() for number in range(count)]
    found = {}
    for name in COMPARISON.peers:
        paths = [folder / f"{name}.{number}.json" for number in range(count)]
        if all(path.is_file() for path in paths):
            same = sum(path.read_text() == one for path, one in zip(paths, ours, strict=True))
            found[name] = same
            print(f"{name}: the tokens of {same} of {count} sounds are equal")
    return {"same_tokens": found}


def _main(argv: Sequence[str]) -> None:
    del argv
    comparison.main(COMPARISON, tasks)


if __name__ == "__main__":
    define_path("checkpoint", "", "Folder of Whisper in CTranslate2's format.")
    define_path("audio", "", "Sound files, with commas.")
    comparison.define_flags(COMPARISON, peers="ctranslate2", rounds=5)
    flags.adopt_module_key_flags(comparison)
    app.run(_main)
