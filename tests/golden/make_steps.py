"""Writes steps.json: three training steps and a beam search of a small network of every kind.

python tests/golden/make_steps.py      from the root of the repository

Parameters are drawn from a seed, so that names of parameters and the order of draws are held, too.
"""

import functools
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from attn_research.decoding import Vocabulary, beam_search  # noqa: E402
from attn_research.layers.attention import MemoryAttention  # noqa: E402
from attn_research.layers.convolution import ResidualStem  # noqa: E402
from attn_research.layers.masking import make_locality  # noqa: E402
from attn_research.layers.pooling import SelfAttentionPooling  # noqa: E402
from attn_research.layers.recurrent import symmetric_uniform  # noqa: E402
from attn_research.layers.scoring import make_scoring  # noqa: E402
from attn_research.models.luong import LuongSeq2Seq  # noqa: E402
from attn_research.models.rnn_search import RNNSearch  # noqa: E402
from attn_research.models.self_attentive import SelfAttentive  # noqa: E402
from attn_research.models.transformer import Transformer  # noqa: E402
from attn_research.models.vit import ViT  # noqa: E402
from attn_research.training.objectives import chunked_cross_entropy, cross_entropy  # noqa: E402
from attn_research.training.optimizers import make_optimizer  # noqa: E402
from attn_research.training.step import Sums, make_state, make_train_step  # noqa: E402

PATH = pathlib.Path(__file__).with_name("steps.json")
PAD, BOS, EOS, VOCAB_SIZE = 0, 2, 3, 29
MAX_LENGTH, BEAM_SIZE = 12, 3


def rnn_search(scoring=None, *, maxout_dim=10, **options):
    attention = scoring and MemoryAttention(scoring)
    return RNNSearch(
        VOCAB_SIZE,
        VOCAB_SIZE,
        hidden_dim=16,
        embedding_dim=12,
        maxout_dim=maxout_dim,
        attention=attention,
        embedding_dropout=0.1,
        annotation_dropout=0.1,
        output_dropout=0.1,
        init_scale=10.0,
        **options,
    )


def luong(score=None, locality="global", half_width=0, **options):
    init, attention = symmetric_uniform(0.3), None
    if score is not None:
        attention = MemoryAttention(
            make_scoring(score, features=16, max_length=10, kernel_init=init),
            make_locality(locality, half_width, init),
        )
    options = dict(reverse=True, input_feeding=True, dropout=0.2) | options
    return LuongSeq2Seq(
        VOCAB_SIZE, VOCAB_SIZE, 16, 12, 2, attention=attention, init_limit=0.3, **options
    )


def transformer(**options):
    sizes = dict(num_layers=2, model_dim=16, mlp_dim=24, num_heads=4)
    return Transformer(VOCAB_SIZE, VOCAB_SIZE, **sizes, dropout=0.1, **options)


def vit(patch=4, **options):
    sizes = dict(num_layers=2, model_dim=16, mlp_dim=24, num_heads=4)
    return ViT(7, (16, 16), patch, **sizes, dropout=0.1, **options)


NETWORKS = {
    "rnnencdec": rnn_search(),
    "rnnsearch": rnn_search(
        make_scoring("additive", features=11, kernel_init=nn.initializers.normal(0.1))
    ),
    "rnnsearch-cond": rnn_search(
        make_scoring("additive", features=11),
        maxout_dim=12,
        tied=True,
        word_dropout=0.1,
        conditional=True,
        remat="dots",
    ),
    "luong-additive": luong("additive"),
    "luong-general-p": luong("general", "local_p", 3),
    "luong-general-m": luong("general", "local_m", 2),
    "luong-location": luong("location", input_feeding=False),
    "luong-base": luong(reverse=False, input_feeding=False, dropout=0.0),
    "transformer": transformer(),
    "transformer-pre": transformer(
        value_dim=5,
        head_dim=6,
        num_kv_heads=2,
        attention_dropout=0.1,
        pre_norm=True,
        tied=False,
        remat="dots",
    ),
    "transformer-additive": transformer(scoring=make_scoring("additive")),
    "vit": vit(drop_path=0.1),
    "vit-mean": vit(attention_dropout=0.1, pooling="mean", remat="dots"),
    "vit-stem": vit(patch=2, stem=ResidualStem(16, 2)),
    "self-attentive": SelfAttentive(
        VOCAB_SIZE,
        4,
        *(12, 16, 10),
        pooling=SelfAttentionPooling(3, 11),
        penalty=0.7,
        dropout=0.1,
        word_dropout=0.1,
    ),
}


def sentences():
    """Source and target ids of six pairs, of several lengths."""
    rng = np.random.default_rng(0)
    sides = [rng.integers(4, VOCAB_SIZE, (6, size)).astype(np.int32) for size in (9, 7)]
    for ids, shortest in zip(sides, (5, 3), strict=True):
        for i, row in enumerate(ids):
            length = shortest + i % 5
            row[length - 1], row[length:] = EOS, PAD
    return sides


def images():
    """Five images, and their labels."""
    return np.random.default_rng(0).random((5, 16, 16, 3)).astype(np.float32), np.arange(5)


def initial_params(network):
    """The parameters that `init` draws."""
    ids = jnp.zeros((1, 2), jnp.int32)
    if isinstance(network, ViT):
        inputs = (jnp.zeros((1, 16, 16, 3)),)
    elif isinstance(network, SelfAttentive):
        inputs = ids, ids == PAD
    else:
        inputs = ids, ids == PAD, ids
    return jax.jit(network.init)(jax.random.key(1), *inputs)


def image_loss(network, params, batch, key):
    pixels, labels = batch
    logits = network.apply(params, pixels, train=True, rngs={"dropout": key}).logits
    return Sums(*cross_entropy(logits, labels, labels >= 0, label_smoothing=0.1), {})


def class_loss(network, params, batch, key):
    ids, labels = batch[0], jnp.arange(6) % 4
    found = network.apply(params, ids, ids != PAD, train=True, rngs={"dropout": key})
    total, weight = cross_entropy(found.logits, labels, labels >= 0)
    return Sums(total + found.auxiliary.sum(), weight, {})


def sentence_loss(network, params, batch, key):
    source, target = batch
    previous = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
    states = network.apply(
        params,
        source,
        source != PAD,
        previous,
        train=True,
        rngs={"dropout": key},
        method="hidden_states",
    ).states
    logits = functools.partial(network.apply, params, method="logits")
    total, weight = chunked_cross_entropy(
        logits, states, target, target != PAD, label_smoothing=0.1
    )
    return Sums(total, weight, {})


def train(network, params):
    """The parameters after three steps of Adam, and losses and gradient norms of the steps."""
    losses = {ViT: image_loss, SelfAttentive: class_loss}
    loss = functools.partial(losses.get(type(network), sentence_loss), network)
    batch = images() if isinstance(network, ViT) else sentences()
    optimizer = make_optimizer("adam", 1e-2, 1.0)
    step = make_train_step(loss, optimizer, jax.random.key(5))
    state = make_state(jax.tree.map(jnp.array, params), optimizer)
    found = {"losses": [], "gradient_norms": []}
    for _ in range(3):
        state, metrics = step(state, tuple(batch))
        found["losses"].append(float(metrics.sums.total))
        found["gradient_norms"].append(float(metrics.gradient_norm))
    return state.params, found


def search(network, params):
    """Tokens and scores of a beam search."""

    def find(params, source):
        encoded = network.apply(params, source, source != PAD, method="encode")

        def step(state, tokens):
            logits, state, _ = network.apply(params, encoded.memory, state, tokens, method="step")
            return logits, state, ()

        return beam_search(
            step,
            network.apply(params, encoded, MAX_LENGTH, method="begin"),
            jnp.full(len(source), MAX_LENGTH),
            max_length=MAX_LENGTH,
            beam_size=BEAM_SIZE,
            vocabulary=Vocabulary(PAD, BOS, EOS),
            alpha=0.6,
            n_best=1,
        )

    found = jax.jit(find)(params, sentences()[0])
    return {"tokens": found.tokens.tolist(), "scores": found.scores.tolist()}


def run(network):
    """All that is kept of a network."""
    params, found = train(network, initial_params(network))
    if isinstance(network, ViT | SelfAttentive):
        return found
    return found | search(network, params)


def main() -> None:
    found = {}
    for name, network in NETWORKS.items():
        print(name)
        found[name] = run(network)
    lines = (f"{json.dumps(name)}: {json.dumps(values)}" for name, values in found.items())
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
