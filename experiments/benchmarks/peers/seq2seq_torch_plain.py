"""RNNsearch in plain PyTorch, untuned: a fused GRU for the encoder, a loop for the decoder.

Bahdanau, Cho, Bengio 2014, appendix A, with PyTorch's gated unit, whose reset gate acts after the
matrix product. The keys are projected once, and the output layer runs once for all steps.
`seq2seq_torch` is the same model tuned for speed.

python -m experiments.benchmarks.peers.seq2seq_torch_plain
"""

from experiments.benchmarks import peers

try:
    import torch
    from torch import Tensor, nn
    from torch.nn.utils import rnn

    from experiments.benchmarks.peers.torch_step import prepare, training_step
except ModuleNotFoundError as error:
    raise peers.missing(error, __name__) from None


class RNNsearch(nn.Module):
    """Bidirectional encoder, and a decoder whose query is the state before the step."""

    def __init__(self, config: dict):
        super().__init__()
        n, m, alignment = config["hidden"], config["embedding"], config["alignment"]
        self.source_embedding = nn.Embedding(config["source_vocab"], m, padding_idx=peers.PAD)
        self.target_embedding = nn.Embedding(config["target_vocab"], m, padding_idx=peers.PAD)
        self.encoder = nn.GRU(m, n, bidirectional=True, batch_first=True)
        self.initial = nn.Linear(n, n)
        self.query = nn.Linear(n, alignment)
        self.key = nn.Linear(2 * n, alignment, bias=False)
        self.energy = nn.Linear(alignment, 1, bias=False)
        self.cell = nn.GRUCell(m + 2 * n, n)
        self.pieces = nn.Linear(n + m + 2 * n, 2 * config["maxout"])
        self.vocabulary = nn.Linear(config["maxout"], config["target_vocab"])

    def forward(self, source: Tensor, previous: Tensor) -> Tensor:
        """Logits [B, T, V] of a batch of ids [B, S], [B, T]."""
        lengths = (source != peers.PAD).sum(dim=1).clamp(min=1)
        packed = rnn.pack_padded_sequence(
            self.source_embedding(source), lengths, batch_first=True, enforce_sorted=False
        )
        outputs, last = self.encoder(packed)
        annotations = rnn.pad_packed_sequence(
            outputs, batch_first=True, total_length=source.shape[1]
        )[0]
        state = torch.tanh(self.initial(last[1]))
        keys = self.key(annotations)
        padding = source == peers.PAD
        words = self.target_embedding(previous)
        states, contexts = [], []
        for word in words.unbind(1):
            energies = self.energy(torch.tanh(self.query(state)[:, None] + keys)).squeeze(2)
            weights = torch.softmax(energies.masked_fill(padding, -1e30), dim=1)
            context = torch.bmm(weights[:, None], annotations).squeeze(1)
            states.append(state)
            contexts.append(context)
            state = self.cell(torch.cat([word, context], dim=1), state)
        inputs = torch.cat([torch.stack(states, 1), words, torch.stack(contexts, 1)], dim=2)
        pieces = self.pieces(inputs)
        return self.vocabulary(pieces.view(*pieces.shape[:-1], -1, 2).amax(-1))


def make_step(config: dict, seed: int) -> peers.Step:
    """The training step."""
    prepare(seed)
    model = RNNsearch(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=peers.LEARNING_RATE)
    criterion = nn.CrossEntropyLoss(ignore_index=peers.PAD)

    def loss(batch: peers.Batch) -> Tensor:
        source, previous, target = (
            torch.from_numpy(batch[name]).long() for name in ("source", "target_in", "target")
        )
        return criterion(model(source, previous).flatten(0, 1), target.flatten())

    return training_step(model, optimizer, loss)


if __name__ == "__main__":
    peers.check(make_step)
