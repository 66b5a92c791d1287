"""The row nanoGPT-CPU of gpt2018 in PyTorch: which loss nanoGPT's setting for a CPU comes to.

python -m experiments.benchmarks.peers.nanogpt_torch --data_dir=DIR --seed=0

Prints the mean loss of all windows of tinyshakespeare's validation text, in nats a character, and
estimates of it as nanoGPT's script makes them, from 20 batches of random windows. It needs `pip
install -e .[peers]`.
"""

import math
from collections.abc import Sequence

from absl import app, flags

from attn_research.data.text.long_texts import tinyshakespeare
from experiments.benchmarks import peers
from experiments.harness.path_flags import define_path

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    from experiments.benchmarks.peers.torch_step import prepare
except ModuleNotFoundError as error:
    raise peers.missing(error, __name__) from None

LAYERS, HEADS, WIDTH, CONTEXT, BATCH, STEPS, WARMUP = 4, 4, 128, 64, 12, 2000, 100
RATE, LAST_RATE, DECAY, BETAS = 1e-3, 1e-4, 0.1, (0.9, 0.99)
ESTIMATES, ESTIMATE_BATCHES = 3, 20


class GPT(nn.Module):
    """Blocks that begin with a norm, without biases; the output matrix is that of embeddings."""

    def __init__(self, vocab_size: int):
        super().__init__()
        self.words = nn.Embedding(vocab_size, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        block = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True,
            norm_first=True, bias=False,
        )  # fmt: skip
        norm = nn.LayerNorm(WIDTH, bias=False)
        self.blocks = nn.TransformerEncoder(block, LAYERS, norm, enable_nested_tensor=False)
        for name, matrix in self.named_parameters():
            if matrix.dim() > 1:
                ends_a_branch = name.endswith(("out_proj.weight", "linear2.weight"))
                scale = 1 / math.sqrt(2 * LAYERS) if ends_a_branch else 1
                nn.init.normal_(matrix, std=0.02 * scale)

    def forward(self, ids: Tensor) -> Tensor:
        states = self.words(ids) + self.positions.weight
        mask = nn.Transformer.generate_square_subsequent_mask(CONTEXT)
        return self.blocks(states, mask=mask, is_causal=True) @ self.words.weight.T

    def loss(self, ids: Tensor, starts: Tensor) -> Tensor:
        """The mean loss of the windows of a text that begin at `starts`."""
        windows = ids[starts[:, None] + torch.arange(CONTEXT + 1)]
        logits = self(windows[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def rate(step: int) -> float:
    """The learning rate of a step: linear, then a cosine."""
    if step < WARMUP:
        return RATE * (step + 1) / (WARMUP + 1)
    cosine = math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))
    return LAST_RATE + (RATE - LAST_RATE) * (1 + cosine) / 2


def train(model: GPT, ids: Tensor) -> None:
    """Trains on random windows of a text."""
    parameters = list(model.parameters())
    groups = [
        {"params": [each for each in parameters if each.dim() > 1], "weight_decay": DECAY},
        {"params": [each for each in parameters if each.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.zero_grad(set_to_none=True)
        model.loss(ids, torch.randint(len(ids) - CONTEXT, (BATCH,))).backward()
        nn.utils.clip_grad_norm_(parameters, peers.MAX_NORM)
        optimizer.step()


def _main(argv: Sequence[str]) -> None:
    del argv
    texts = tinyshakespeare(flags.FLAGS.data_dir)
    validation = texts.tests["validation"]
    ids_of = {symbol: i for i, symbol in enumerate(sorted(set(texts.train + validation)))}
    ids, held_out = (
        torch.tensor([ids_of[symbol] for symbol in text]) for text in (texts.train, validation)
    )
    prepare(flags.FLAGS.seed)
    model = GPT(len(ids_of))
    train(model, ids)
    with torch.no_grad():
        every = torch.arange(0, len(held_out) - CONTEXT, CONTEXT)
        print(f"loss of {len(every)} windows: {model.loss(held_out, every).item():.4f}")
        for _ in range(ESTIMATES):
            some = torch.randint(len(held_out) - CONTEXT, (ESTIMATE_BATCHES * BATCH,))
            print(f"loss of {len(some)} random windows: {model.loss(held_out, some).item():.4f}")


if __name__ == "__main__":
    define_path("data_dir", None, "Folder of data sets; unset: ATTN_DATA_DIR.")
    flags.DEFINE_integer("seed", 0, "Seed of the parameters and windows.")
    app.run(_main)
