"""Fine-tuning of Hugging Face's `BertForSequenceClassification` on batches padded dynamically.

Attention is PyTorch's fused, and AdamW is the fused one, as its trainer has them.

python -m experiments.benchmarks.peers.finetuning_huggingface
"""

import numpy as np

from experiments.benchmarks import peers

try:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from experiments.benchmarks.peers.torch_step import prepare, training_step
except ModuleNotFoundError as error:
    raise peers.missing(error, __name__) from None


def make_step(config: dict, seed: int) -> peers.Step:
    """The training step."""
    prepare(seed)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=config["vocab_size"],
            hidden_size=config["model_dim"],
            intermediate_size=config["mlp_dim"],
            num_hidden_layers=config["num_layers"],
            num_attention_heads=config["num_heads"],
            max_position_embeddings=config["max_length"],
            attn_implementation="sdpa",
        )
    ).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=peers.LEARNING_RATE, weight_decay=0.01, fused=True
    )

    def loss(batch: peers.Batch) -> torch.Tensor:
        names = "input_ids", "attention_mask", "labels"
        return model(**{name: torch.from_numpy(batch[name]).long() for name in names}).loss

    return training_step(model, optimizer, loss)


if __name__ == "__main__":
    sizes = {"num_layers": 2, "model_dim": 16, "mlp_dim": 32, "num_heads": 2, "max_length": 8}
    ids = np.random.default_rng(0).integers(1, 20, (8, 6), np.int32)
    batch = {"input_ids": ids, "attention_mask": ids > 0, "labels": np.arange(8) % 2}
    step = make_step({**sizes, "vocab_size": 20}, 0)
    losses = [step(batch) for _ in range(80)]
    assert losses[-1] < losses[0] / 2, losses
    print(losses[0], losses[-1])
