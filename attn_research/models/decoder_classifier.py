"""A decoder that classifies texts. Radford et al. 2018, section 3.2."""

from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers.contracts import Capture, Classified
from attn_research.layers.dense import Dense
from attn_research.layers.heads import NORMAL
from attn_research.layers.masking import texts_of_rows
from attn_research.types import Array, Bool, Int


class DecoderClassifier(nn.Module):
    """A `TextClassifier`: logits of texts, from a decoder's state at the last token of each.

    `decoder` has `read`, as GPT has; its parameters are those of this network too. Up to
    `max_examples` texts share a row that has segments; `dropout` is of the states that are
    classified.
    """

    decoder: nn.Module
    num_classes: int
    max_examples: int = 1
    dropout: float = 0.0
    takes_segments: ClassVar[bool] = True

    @property
    def tensor_rules(self) -> tuple[Any, ...]:
        """Those of the decoder."""
        return self.decoder.tensor_rules

    def setup(self):
        nn.share_scope(self, self.decoder)
        self.classifier = Dense(self.num_classes, kernel_init=NORMAL)
        self.drop_last = nn.Dropout(self.dropout)

    def __call__(
        self,
        ids: Int[Array, "B T"],
        valid: Bool[Array, "B T"],
        *,
        types: Int[Array, "B T"] | None = None,
        segments: Int[Array, "B T"] | None = None,
        train: bool = False,
        capture: Capture = None,
    ) -> Classified:
        """The classification of texts: see `TextClassifier`. An end parts the texts of a pair."""
        del types
        if segments is None:
            texts = valid[:, None]
            found = self.decoder.read(ids, valid, train=train, capture=capture)
        else:
            texts = texts_of_rows(segments, self.max_examples)
            found = self.decoder.read(ids, segments=segments, train=train, capture=capture)
        last = ids.shape[1] - 1 - jnp.argmax(texts[..., ::-1], axis=-1)  # any, for a text not there
        states = jnp.take_along_axis(found.states, last[:, :, None], axis=1)
        logits = self.classifier(self.drop_last(states, deterministic=not train))
        return Classified(logits[:, 0] if segments is None else logits, found.weights)
