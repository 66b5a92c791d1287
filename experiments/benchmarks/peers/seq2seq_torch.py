"""RNNsearch and RNNencdec in plain PyTorch, tuned for a CPU without new kernels.

Bahdanau, Cho, Bengio 2014, appendix A, with PyTorch's gated unit, whose reset gate acts after the
matrix product; the encoder is therefore the fused `torch.nn.GRU`.

Computation that does not depend on the decoder's state is outside the loop: input projections,
U_a h, C h (so attention averages projected annotations), the contexts of the output layer, and the
output layer. In the loop the gates and the alignment share one product with the state. Padding that
only fixed shapes need is cut, and the output layer gets non-padding positions only.

python -m experiments.benchmarks.peers.seq2seq_torch
"""

from experiments.benchmarks import peers

try:
    import torch
    from torch import Tensor, nn
    from torch.nn.utils import rnn

    from experiments.benchmarks.peers.torch_step import prepare, training_step
except ModuleNotFoundError as error:
    raise peers.missing(error, __name__) from None

Float, Ids = Tensor, Tensor


class Readout(nn.Module):
    """Mean loss of the output layer: maxout of s_{i-1}, E y_{i-1} and c_i, then the vocabulary."""

    def __init__(self, config: dict, context: int):
        super().__init__()
        inputs = config["hidden"] + config["embedding"] + context
        self.pieces = nn.Linear(inputs, 2 * config["maxout"])
        self.vocabulary = nn.Linear(config["maxout"], config["target_vocab"])

    def forward(self, states: Float, words: Float, contexts: Float, target: Ids) -> Float:
        """Mean loss from inputs [T, B, ...] and target ids [T, B], over non-padding positions."""
        valid = target != peers.PAD
        return self.loss(torch.cat([states, words, contexts], dim=-1)[valid], target[valid])

    def loss(self, inputs: Float, target: Ids) -> Float:
        """Mean loss from inputs [words, ...] and target ids [words]."""
        logits = self.vocabulary(torch.maximum(*self.pieces(inputs).chunk(2, dim=-1)))
        return nn.functional.cross_entropy(logits, target)


class RNNsearch(nn.Module):
    """Bidirectional encoder, additive attention by the state before the step."""

    def __init__(self, config: dict):
        super().__init__()
        n, m, alignment = config["hidden"], config["embedding"], config["alignment"]
        self.source_embedding = nn.Embedding(config["source_vocab"], m)
        self.target_embedding = nn.Embedding(config["target_vocab"], m)
        self.encoder = nn.GRU(m, n, bidirectional=True)
        self.initial = nn.Linear(n, n)
        self.keys = nn.Linear(2 * n, alignment)
        self.energy = nn.Linear(alignment, 1, bias=False)
        self.from_word = nn.Linear(m, 3 * n)
        self.from_context = nn.Linear(2 * n, 3 * n, bias=False)
        self.from_state = nn.Linear(n, 3 * n + alignment)
        self.readout = Readout(config, context=2 * n)

    def forward(self, source: Ids, previous: Ids, target: Ids) -> Float:
        """Mean loss of a batch of ids [S, B], [T, B], [T, B]."""
        packed, last = _encode(self.encoder, self.source_embedding, source)
        annotations = rnn.pad_packed_sequence(packed)[0].transpose(0, 1)
        state = torch.tanh(self.initial(last[1]))
        keys, values = self.keys(annotations), self.from_context(annotations)
        padding = torch.where(source.t() == peers.PAD, -torch.inf, 0.0)

        words = self.target_embedding(previous)
        states, weights = [], []
        for word in self.from_word(words):
            states.append(state)
            state, step_weights = self.advance(state, word, keys, values, padding)
            weights.append(step_weights)
        contexts = torch.bmm(torch.stack(weights, dim=1), annotations).transpose(0, 1)
        return self.readout(torch.stack(states), words, contexts, target)

    def advance(
        self, state: Float, word: Float, keys: Float, values: Float, padding: Float
    ) -> tuple[Float, Float]:
        """One step: the next state [B, n] and the attention weights [B, S]."""
        width = 3 * state.shape[1]
        gates, query = self.from_state(state).tensor_split([width], dim=1)
        energies = self.energy(torch.tanh(query[:, None] + keys)).squeeze(2)
        weights = torch.softmax(energies + padding, dim=1)
        inputs = torch.baddbmm(word[:, None], weights[:, None], values).squeeze(1)

        reset_in, update_in, new_in = inputs.chunk(3, dim=1)
        reset, update, new = gates.chunk(3, dim=1)
        reset, update = torch.sigmoid(reset_in + reset), torch.sigmoid(update_in + update)
        return torch.lerp(torch.tanh(new_in + reset * new), state, update), weights


class RNNencdec(nn.Module):
    """RNNencdec. Its context is the encoder's last state, so the decoder is a fused GRU too."""

    def __init__(self, config: dict):
        super().__init__()
        n, m = config["hidden"], config["embedding"]
        self.source_embedding = nn.Embedding(config["source_vocab"], m)
        self.target_embedding = nn.Embedding(config["target_vocab"], m)
        self.encoder = nn.GRU(m, n)
        self.initial = nn.Linear(n, n)
        self.decoder = nn.GRU(m + n, n)
        self.readout = Readout(config, context=n)

    def forward(self, source: Ids, previous: Ids, target: Ids) -> Float:
        """Mean loss of a batch of ids [S, B], [T, B], [T, B]."""
        last = _encode(self.encoder, self.source_embedding, source)[1]
        state = torch.tanh(self.initial(last))
        words = self.target_embedding(previous)
        contexts = last.expand(len(words), -1, -1)
        after = self.decoder(torch.cat([words, contexts], dim=-1), state)[0]
        states = torch.cat([state, after[:-1]])
        return self.readout(states, words, contexts, target)


def _encode(encoder, embedding, source):
    """Packed encoder states of the words of each sentence, and the last state of each direction."""
    lengths = (source != peers.PAD).sum(dim=0)
    packed = rnn.pack_padded_sequence(embedding(source), lengths, enforce_sorted=False)
    return encoder(packed)


def make_step(config: dict, seed: int, compile: bool = False) -> peers.Step:
    """The training step; with `compile`, torch.compile (needs g++) compiles its unfused parts."""
    prepare(seed)
    model = _model(config)
    if compile:
        model.readout.loss = torch.compile(model.readout.loss, dynamic=True)
        if config["attention"]:
            model.advance = torch.compile(model.advance, dynamic=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=peers.LEARNING_RATE, fused=True)

    def loss(batch: peers.Batch) -> Float:
        return model(*(part.t().contiguous() for part in peers.cut(batch)))

    return training_step(model, optimizer, loss)


def count_parameters(config: dict, biases: bool = True) -> int:
    """Number of parameters, with or without biases (the paper omits them); allocates nothing."""
    with torch.device("meta"):
        parameters = _model(config).parameters()
    return sum(p.numel() for p in parameters if biases or p.ndim > 1)


def _model(config):
    return (RNNsearch if config["attention"] else RNNencdec)(config)


if __name__ == "__main__":
    paper = {
        "source_vocab": 30000,
        "target_vocab": 30000,
        "hidden": 1000,
        "embedding": 620,
        "maxout": 500,
        "alignment": 1000,
    }
    for attention, published in ((True, 80_401_000), (False, 68_540_000)):
        counted = count_parameters({**paper, "attention": attention}, biases=False)
        assert counted == published, (attention, counted)
        peers.check(make_step, {"attention": attention})
