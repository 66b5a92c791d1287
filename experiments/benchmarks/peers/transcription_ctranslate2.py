"""Greedy transcripts by CTranslate2's Whisper, in float32."""

import json
import os
from pathlib import Path

import numpy as np

from experiments.benchmarks import peers

try:
    import ctranslate2
except ModuleNotFoundError as error:
    raise peers.missing(error, __name__) from None

PROMPT = [50257, 50362]  # <|startoftranscript|> and <|notimestamps|> of English models


def make_transcripts(config: dict, seed: int) -> peers.Generation:
    """A function from a batch with one sound's window to its tokens."""
    del seed
    model = ctranslate2.models.Whisper(
        config["checkpoint"], device="cpu", compute_type="float32", intra_threads=os.cpu_count()
    )

    def run(batch: peers.Batch) -> np.ndarray:
        features = np.ascontiguousarray(np.moveaxis(batch["window"], 1, 2), np.float32)
        view = ctranslate2.StorageView.from_array(features)
        (tokens,) = model.generate(view, [PROMPT], beam_size=1)[0].sequences_ids
        path = Path(config["folder"]) / f"ctranslate2.{int(batch['number'])}.json"
        path.write_text(json.dumps(tokens))
        return np.array(tokens)

    return run
