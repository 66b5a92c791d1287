"""Beam search by Hugging Face's `MarianMTModel.generate`, with random weights.

Attention is the model's own, or with `sdpa` PyTorch's fused attention.

python -m experiments.benchmarks.peers.transformer_marian
"""

import numpy as np

from experiments.benchmarks import peers

try:
    import torch
    from transformers import MarianConfig, MarianMTModel

    from experiments.benchmarks.peers.torch_step import prepare
except ModuleNotFoundError as error:
    raise peers.missing(error, __name__) from None

LENGTH = 30


def make_search(config: dict, seed: int, sdpa: bool = False) -> peers.Generation:
    """The search: a function from a batch to its best translations, each of `LENGTH` words."""
    prepare(seed)
    sides = ("encoder", "decoder")
    model = MarianMTModel(
        MarianConfig(
            vocab_size=config["vocab_size"],
            d_model=config["model_dim"],
            **{f"{side}_layers": config["num_layers"] for side in sides},
            **{f"{side}_ffn_dim": config["mlp_dim"] for side in sides},
            **{f"{side}_attention_heads": config["num_heads"] for side in sides},
            activation_function="relu",
            max_position_embeddings=128,
            scale_embedding=True,
            init_std=config["model_dim"] ** -0.5,
            pad_token_id=peers.PAD,
            bos_token_id=peers.BOS,
            decoder_start_token_id=peers.BOS,
            eos_token_id=peers.EOS,
            forced_eos_token_id=None,
            attn_implementation="sdpa" if sdpa else "eager",
        )
    ).eval()

    @torch.inference_mode()
    def run(batch: peers.Batch) -> np.ndarray:
        source = torch.from_numpy(batch["source"]).long()
        found = model.generate(
            input_ids=source,
            attention_mask=(source != peers.PAD).long(),
            num_beams=config["beam_size"],
            do_sample=False,
            use_cache=True,
            early_stopping=False,
            min_new_tokens=LENGTH,
            max_new_tokens=LENGTH,
        )
        assert found.shape == (len(source), 1 + LENGTH), found.shape
        return found[:, 1:].numpy()

    return run


if __name__ == "__main__":
    peers.check_search(make_search)
