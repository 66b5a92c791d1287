"""The Transformer by `torch.nn.Transformer`: post-norm, with one matrix for embeddings and logits.

By default it also applies dropout to attention weights and hidden units, adds biases to all
projections, and adds a final norm to both stacks, unlike Vaswani et al. 2017. `tuned` omits these
two dropouts, cuts padding that only fixed shapes need, computes logits of non-padding positions
only, and uses the fused Adam.

python -m experiments.benchmarks.peers.transformer_torch
"""

import numpy as np

from experiments.benchmarks import peers

try:
    import torch
    from torch import Tensor, nn

    from experiments.benchmarks.peers.torch_step import prepare, training_step
except ModuleNotFoundError as error:
    raise peers.missing(error, __name__) from None

MAX_LENGTH = 512


class Translator(nn.Module):
    """Embeddings, sinusoidal positions, `nn.Transformer`."""

    def __init__(self, config: dict, tuned: bool = False):
        super().__init__()
        width, dropout, layers = config["model_dim"], config["dropout"], config["num_layers"]
        self.words = nn.Embedding(config["vocab_size"], width)
        nn.init.normal_(self.words.weight, std=width**-0.5)
        self.register_buffer("positions", _sinusoids(MAX_LENGTH, width))
        self.drop = nn.Dropout(dropout)
        sizes = width, config["num_heads"], layers, layers, config["mlp_dim"], dropout
        self.body = nn.Transformer(*sizes, batch_first=True)
        if tuned:
            for module in self.body.modules():
                if isinstance(module, nn.MultiheadAttention):
                    module.dropout = 0.0
                elif hasattr(module, "linear1"):
                    module.dropout = nn.Identity()

    def forward(self, source: Tensor, previous: Tensor) -> Tensor:
        """Decoder states [B, T, D] from ids [B, S] and [B, T]."""
        padding = source == peers.PAD
        future = nn.Transformer.generate_square_subsequent_mask(previous.shape[1])
        return self.body(
            self.embed(source),
            self.embed(previous),
            tgt_mask=future,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )

    def embed(self, ids: Tensor) -> Tensor:
        """Word plus positional embeddings."""
        vectors = self.words(ids) * self.words.embedding_dim**0.5
        return self.drop(vectors + self.positions[: ids.shape[1]])


def _sinusoids(length, width):
    angles = np.arange(length)[:, None] / 10_000 ** (np.arange(0, width, 2) / width)
    pairs = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    return torch.from_numpy(pairs.reshape(length, width)).float()


def make_step(config: dict, seed: int, tuned: bool = False) -> peers.Step:
    """The training step."""
    prepare(seed)
    model = Translator(config, tuned).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=peers.LEARNING_RATE, fused=tuned)
    criterion = nn.CrossEntropyLoss(
        ignore_index=peers.PAD, label_smoothing=config["label_smoothing"]
    )

    def loss(batch: peers.Batch) -> Tensor:
        source, previous, target = peers.cut(batch, columns=tuned)
        states = model(source, previous)
        if tuned:
            valid = target != peers.PAD
            states, target = states[valid], target[valid]
        logits = nn.functional.linear(states, model.words.weight)
        return criterion(logits.flatten(0, -2), target.flatten())

    return training_step(model, optimizer, loss)


if __name__ == "__main__":
    config = peers.SMALL_TRANSFORMER | {"dropout": 0.1, "label_smoothing": 0.1}
    for tuned in (False, True):
        peers.check(make_step, config, tuned=tuned)
