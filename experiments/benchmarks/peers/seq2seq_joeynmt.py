"""JoeyNMT's recurrent model with Bahdanau attention, built and trained by its own code.

It is JoeyNMT's nearest model to RNNsearch at equal sizes. The differences: the state is updated
from the word alone, and attention follows the update (no input feeding); a tanh layer of width n
replaces the maxout; the first state is computed from both directions of the encoder. JoeyNMT's
training step also counts correct words; that is left in.

python -m experiments.benchmarks.peers.seq2seq_joeynmt
"""

import logging
import types

import numpy as np

from experiments.benchmarks import peers

try:
    import torch
    from joeynmt.batch import Batch
    from joeynmt.builders import build_gradient_clipper, build_optimizer
    from joeynmt.model import build_model
    from joeynmt.vocabulary import Vocabulary

    from experiments.benchmarks.peers.torch_step import prepare
except ModuleNotFoundError as error:
    raise peers.missing(error, __name__) from None


def make_step(config: dict, seed: int) -> peers.Step:
    """The training step; ValueError without attention, which JoeyNMT's decoder always has."""
    prepare(seed)
    model = _model(config)
    model.loss_function = ("crossentropy", 0.0)
    model.train()
    optimizer = build_optimizer(
        {"optimizer": "adam", "learning_rate": peers.LEARNING_RATE}, model.parameters()
    )
    clip = build_gradient_clipper({"clip_grad_val": None, "clip_grad_norm": peers.MAX_NORM})

    def step(batch: peers.Batch) -> float:
        joey = _batch(batch)
        joey.sort_by_src_length()
        total, *_ = model(return_type="loss", **vars(joey))
        loss = joey.normalize(total, "tokens")
        loss.backward()
        clip(parameters=model.parameters())
        optimizer.step()
        model.zero_grad()
        return loss.item()

    return step


def count_parameters(config: dict) -> int:
    """Number of parameters, biases included."""
    return sum(p.numel() for p in _model(config).parameters())


def _model(config):
    if not config["attention"]:
        raise ValueError("JoeyNMT's recurrent decoder always has attention: use attention=True")
    for name in ("joeynmt.model", "joeynmt.builders"):
        logging.getLogger(name).setLevel(logging.WARNING)
    shared = {
        "type": "recurrent",
        "rnn_type": "gru",
        "num_layers": 1,
        "hidden_size": config["hidden"],
        "embeddings": {"embedding_dim": config["embedding"], "dropout": 0.0},
        "dropout": 0.0,
    }
    decoder = {
        "attention": "bahdanau",
        "init_hidden": "bridge",
        "input_feeding": False,
        "hidden_dropout": 0.0,
    }
    return build_model(
        {"encoder": {**shared, "bidirectional": True}, "decoder": {**shared, **decoder}},
        src_vocab=_vocabulary(config["source_vocab"]),
        trg_vocab=_vocabulary(config["target_vocab"]),
    )


def _vocabulary(size):
    # JoeyNMT numbers the unknown word before padding; one symbol for both makes padding 0.
    symbols = types.SimpleNamespace(
        unk_token="<pad>",
        unk_id=peers.PAD,
        pad_token="<pad>",
        pad_id=peers.PAD,
        bos_token="<s>",
        bos_id=peers.BOS,
        eos_token="</s>",
        eos_id=peers.EOS,
        sep_token=None,
        sep_id=None,
        lang_tags=[],
    )
    return Vocabulary([str(i) for i in range(size - 3)], symbols)


def _batch(batch):
    """The batch in JoeyNMT's type: the target starts with BOS; no rows or columns are empty."""
    rows = (batch["source"] != peers.PAD).any(axis=1)
    source = batch["source"][rows]
    source = source[:, (source != peers.PAD).any(axis=0)]
    target = np.concatenate([batch["target_in"][rows, :1], batch["target"][rows]], axis=1)
    target = target[:, (target != peers.PAD).any(axis=0)]
    return Batch(
        src=torch.from_numpy(source).long(),
        src_length=torch.from_numpy((source != peers.PAD).sum(axis=1)),
        src_prompt_mask=None,
        trg=torch.from_numpy(target).long(),
        trg_prompt_mask=None,
        indices=torch.arange(len(source)),
        device=torch.device("cpu"),
        pad_index=peers.PAD,
        eos_index=peers.EOS,
    )


if __name__ == "__main__":
    peers.check(make_step)
