"""The Transformer in Flax Linen, one module per layer: `MultiHeadDotProductAttention`, `Dense`.

Post-norm, with one matrix for source embedding, target embedding and logits; trained by optax's
Adam. It is the only peer in JAX.

python -m experiments.benchmarks.peers.transformer_linen
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from experiments.benchmarks import peers


class Layer(nn.Module):
    """Self-attention, optional cross-attention, and a feed-forward network."""

    config: dict

    @nn.compact
    def __call__(self, states, mask, memory=None, memory_mask=None):
        states = self.residual(states, self.attend(states, states, mask))
        if memory is not None:
            states = self.residual(states, self.attend(states, memory, memory_mask))
        hidden = nn.relu(nn.Dense(self.config["mlp_dim"])(states))
        return self.residual(states, nn.Dense(self.config["model_dim"])(hidden))

    def attend(self, states, memory, mask):
        """Multi-head attention."""
        heads = self.config["num_heads"]
        attention = nn.MultiHeadDotProductAttention(heads, use_bias=False, deterministic=True)
        return attention(states, memory, mask=mask)

    def residual(self, states, outputs):
        """LayerNorm(x + dropout(f(x)))."""
        dropped = nn.Dropout(self.config["dropout"], deterministic=False)(outputs)
        return nn.LayerNorm()(states + dropped)


class Translator(nn.Module):
    """Embeddings, sinusoidal positions, encoder and decoder."""

    config: dict

    @nn.compact
    def __call__(self, source, previous):
        config = self.config
        width = config["model_dim"]
        words = nn.Embed(
            config["vocab_size"], width, embedding_init=nn.initializers.normal(width**-0.5)
        )

        def embed(ids):
            vectors = words(ids) * width**0.5 + _sinusoids(ids.shape[1], width)
            return nn.Dropout(config["dropout"], deterministic=False)(vectors)

        padding = nn.make_attention_mask(source != peers.PAD, source != peers.PAD)
        memory = embed(source)
        for number in range(config["num_layers"]):
            memory = Layer(config, name=f"encoder_{number}")(memory, padding)
        states = embed(previous)
        cross = nn.make_attention_mask(jnp.ones_like(previous, bool), source != peers.PAD)
        for number in range(config["num_layers"]):
            layer = Layer(config, name=f"decoder_{number}")
            states = layer(states, nn.make_causal_mask(previous), memory, cross)
        return words.attend(states)


def _sinusoids(length, width):
    angles = np.arange(length)[:, None] / 10_000 ** (np.arange(0, width, 2) / width)
    pairs = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    return jnp.asarray(pairs.reshape(length, width), jnp.float32)


def make_train_step(config: dict, seed: int) -> tuple[Callable, Callable]:
    """The function that makes the training state, and the jitted step on it."""
    model = Translator(nn.FrozenDict(config))
    clip = optax.clip_by_global_norm(peers.MAX_NORM)
    optimizer = optax.chain(clip, optax.adam(peers.LEARNING_RATE))
    key = jax.random.key(seed)

    def init():
        ids = jnp.zeros((1, 2), jnp.int32)
        params = model.init({"params": key, "dropout": key}, ids, ids)
        return params, optimizer.init(params), jnp.int32(0)

    @jax.jit
    def train_step(state, batch):
        params, adam, number = state

        def loss(params):
            rngs = {"dropout": jax.random.fold_in(key, number)}
            logits = model.apply(params, batch["source"], batch["target_in"], rngs=rngs)
            hits = jax.nn.one_hot(batch["target"], config["vocab_size"])
            wanted = optax.smooth_labels(hits, config["label_smoothing"])
            losses = optax.softmax_cross_entropy(logits, wanted)
            return jnp.mean(losses, where=batch["target"] != peers.PAD)

        value, gradient = jax.value_and_grad(loss)(params)
        updates, adam = optimizer.update(gradient, adam, params)
        return (optax.apply_updates(params, updates), adam, number + 1), value

    return init, train_step


def make_step(config: dict, seed: int) -> Callable[[peers.Batch], object]:
    """Tracing and compilation of the training step, for a batch."""
    init, train_step = make_train_step(config, seed)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(init))
    return lambda batch: train_step.lower(state, batch).compile()


def _make_whole_step(config, seed):
    """The training step, for `peers.check`."""
    init, train_step = make_train_step(config, seed)
    state = init()

    def step(batch):
        nonlocal state
        state, value = train_step(state, batch)
        return float(value)

    return step


if __name__ == "__main__":
    config = peers.SMALL_TRANSFORMER | {"dropout": 0.1, "label_smoothing": 0.1}
    peers.check(_make_whole_step, config)
