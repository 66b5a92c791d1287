"""Greedy generation by Hugging Face's `GPT2LMHeadModel.generate`, with the weights of a folder.

Its cache grows, or with `static` has its full size from the start. Attention is PyTorch's fused.
"""

from pathlib import Path

import numpy as np

from experiments.benchmarks import peers

try:
    import torch
    from transformers import GPT2LMHeadModel

    from experiments.benchmarks.peers.torch_step import prepare
except ModuleNotFoundError as error:
    raise peers.missing(error, __name__) from None


def make_generation(config: dict, seed: int, static: bool = False) -> peers.Generation:
    """A function from a batch of prompts to the tokens after them."""
    prepare(seed)
    folder, count = Path(config["folder"]), config["num_tokens"]
    model = GPT2LMHeadModel.from_pretrained(folder, attn_implementation="sdpa").eval()
    name = "huggingface-static" if static else "huggingface"

    @torch.inference_mode()
    def run(batch: peers.Batch) -> np.ndarray:
        prompt = torch.from_numpy(batch["prompt"]).long()
        found = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            use_cache=True,
            cache_implementation="static" if static else None,
            eos_token_id=None,
            pad_token_id=config["vocab_size"] - 1,
            min_new_tokens=count,
            max_new_tokens=count,
        )
        tokens = found[:, prompt.shape[1] :].numpy()
        assert tokens.shape == (len(prompt), count), tokens.shape
        np.save(folder / f"tokens.{name}.npy", tokens)
        return tokens

    return run
