"""A self-attentive sentence classifier: a bidirectional LSTM, a pooling, and a perceptron.

Lin et al. 2017. One batch: ids [B, S] -> states H [B, S, 2u] -> the pooling's vector [B, D] -> a
hidden layer -> logits [B, V]. The pooling is the paper's comparison: r rows of self-attention, or
the last state, the mean or the maximum of the states.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers.contracts import Capture, Classified
from attn_research.layers.dense import Dense
from attn_research.layers.pooling import Pooled, States
from attn_research.layers.recurrent import LSTMUnit, Recurrence, symmetric_uniform
from attn_research.types import Array, Bool, Float, Int


class SelfAttentive(nn.Module):
    """The network of the paper's section 2; u is `hidden_dim`.

    `penalty` is the coefficient of the redundancy of the rows of attention in the loss (section
    2.2). In training `word_dropout` drops whole words, `dropout` units of embeddings, of the pooled
    vector and of the hidden layer. A pair of texts is read as one sequence. A `stem` makes states
    of inputs that are no ids, such as sounds, of `vocab_size` features.
    """

    vocab_size: int
    num_classes: int
    embedding_dim: int
    hidden_dim: int
    mlp_dim: int
    _: dataclasses.KW_ONLY
    pooling: Callable[..., Pooled]
    penalty: float = 0.0
    dropout: float = 0.0
    word_dropout: float = 0.0
    init_limit: float = 0.1
    stem: nn.Module | None = None
    tensor_rules: ClassVar = ()

    @nn.compact
    def __call__(
        self,
        ids: Array,
        valid: Bool[Array, "B S"],
        *,
        train: bool = False,
        capture: Capture = None,
        types: Int[Array, "B S"] | None = None,
        segments: Int[Array, "B S"] | None = None,
    ) -> Classified:
        """The classification of texts: see `TextClassifier`."""
        if segments is not None:
            raise ValueError(
                f"{type(self).__name__} does not keep the examples of a row apart: give it rows of "
                "one and no segments"
            )
        init = symmetric_uniform(self.init_limit)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        drop_word = nn.Dropout(self.word_dropout, (-1,), deterministic=not train)
        if self.stem is None:
            embed = nn.Embed(
                self.vocab_size, self.embedding_dim, embedding_init=init, name="embedding"
            )
            embedded = embed(ids)
        else:
            embedded, valid = self.stem(ids, valid)
        pooled = self.pooling(self._read(drop(drop_word(embedded)), valid, init), capture=capture)
        hidden = nn.relu(Dense(self.mlp_dim, name="hidden")(drop(pooled.vector)))
        logits = Dense(self.num_classes, name="output")(drop(hidden))
        auxiliary = None
        if self.penalty and pooled.redundancy is not None:
            auxiliary = self.penalty * pooled.redundancy
        return Classified(logits, pooled.weights, auxiliary)

    def _read(
        self,
        embedded: Float[Array, "B S E"],
        valid: Bool[Array, "B S"],
        init: nn.initializers.Initializer,
    ) -> States:
        """The states of both directions, side by side."""
        found = []
        for name in ("forward", "backward"):
            unit = LSTMUnit(self.hidden_dim, init)
            found.append(Recurrence(unit, name == "backward", name=name)(embedded, valid))
        each = jnp.concatenate([outputs for outputs, _ in found], axis=-1)
        return States(each, jnp.concatenate([last.hidden for _, last in found], axis=-1), valid)
