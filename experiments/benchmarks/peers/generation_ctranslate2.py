"""Greedy generation by CTranslate2, in float32 or int8, with the weights of a folder.

They are converted by the package's own converter of GPT-2.
"""

import os
import tempfile
from pathlib import Path

import numpy as np

from experiments.benchmarks import peers

try:
    import ctranslate2
    from ctranslate2.converters.transformers import GPT2Loader
    from transformers import GPT2LMHeadModel
except ModuleNotFoundError as error:
    raise peers.missing(error, __name__) from None


def make_generation(config: dict, seed: int, int8: bool = False) -> peers.Generation:
    """A function from a batch of prompts to the tokens after them."""
    del seed
    source, count = Path(config["folder"]), config["num_tokens"]
    words = [f"w{number}" for number in range(config["vocab_size"] - 1)] + ["<end>"]
    ids = {word: number for number, word in enumerate(words)}
    with tempfile.TemporaryDirectory() as folder:
        spec = GPT2Loader().get_model_spec(GPT2LMHeadModel.from_pretrained(source))
        spec.register_vocabulary(words)
        spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = "<end>"
        spec.validate()
        spec.optimize(quantization="int8" if int8 else None)
        spec.save(folder)
        generator = ctranslate2.Generator(
            folder,
            device="cpu",
            compute_type="int8" if int8 else "float32",
            intra_threads=os.cpu_count(),
        )
    name = "ctranslate2-int8" if int8 else "ctranslate2"

    def run(batch: peers.Batch) -> np.ndarray:
        found = generator.generate_batch(
            [[words[number] for number in row] for row in batch["prompt"].tolist()],
            beam_size=1,
            min_length=count,
            max_length=count,
            include_prompt_in_result=False,
        )
        tokens = np.array([[ids[word] for word in each.sequences[0]] for each in found])
        assert tokens.shape == (len(batch["prompt"]), count), tokens.shape
        np.save(source / f"tokens.{name}.npy", tokens)
        return tokens

    return run
