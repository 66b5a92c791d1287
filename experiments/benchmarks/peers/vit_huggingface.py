"""The Vision Transformer by Hugging Face's `ViTForImageClassification`.

It uses PyTorch's fused attention; `tuned` uses the fused AdamW as well.

python -m experiments.benchmarks.peers.vit_huggingface
"""

import numpy as np

from experiments.benchmarks import peers

try:
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import ViTConfig, ViTForImageClassification

    from experiments.benchmarks.peers.torch_step import prepare, training_step
except ModuleNotFoundError as error:
    raise peers.missing(error, __name__) from None


def make_step(config: dict, seed: int, tuned: bool = False) -> peers.Step:
    """The training step."""
    prepare(seed)
    model = ViTForImageClassification(
        ViTConfig(
            image_size=config["image_size"],
            patch_size=config["patch"],
            num_channels=config["channels"],
            hidden_size=config["model_dim"],
            intermediate_size=config["mlp_dim"],
            num_hidden_layers=config["num_layers"],
            num_attention_heads=config["num_heads"],
            num_labels=config["num_classes"],
            hidden_act="gelu_pytorch_tanh",  # as flax.linen.gelu
            hidden_dropout_prob=config["dropout"],
            attention_probs_dropout_prob=0.0,
            attn_implementation="sdpa",
        )
    ).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=peers.LEARNING_RATE, weight_decay=0.05, fused=tuned
    )

    def loss(batch: peers.Batch) -> torch.Tensor:
        pixels = torch.from_numpy(batch["image"]).permute(0, 3, 1, 2).float() / 127.5 - 1
        logits = model(pixel_values=pixels).logits
        label = torch.from_numpy(batch["label"]).long()
        return cross_entropy(logits, label, label_smoothing=config["label_smoothing"])

    return training_step(model, optimizer, loss)


if __name__ == "__main__":
    sizes = {"image_size": 8, "patch": 4, "channels": 1, "model_dim": 16, "mlp_dim": 32}
    rest = {"num_layers": 2, "num_heads": 2, "num_classes": 3, "dropout": 0.0}
    rng = np.random.default_rng(0)
    batch = {"image": rng.integers(0, 256, (6, 8, 8, 1), np.uint8), "label": np.arange(6) % 3}
    step = make_step({**sizes, **rest, "label_smoothing": 0.0}, 0)
    losses = [step(batch) for _ in range(50)]
    assert losses[-1] < losses[0] / 2, losses
    print(losses[0], losses[-1])
