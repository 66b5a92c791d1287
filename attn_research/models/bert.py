"""BERT: an encoder of the Transformer that reads a text in both directions.

Devlin et al. 2018; RoBERTa (Liu et al. 2019) and ALBERT (Lan et al. 2019) are configurations of it.
One batch: ids [B, T] -> embeddings of words, positions and token types, summed and normalized -> L
post-norm blocks -> states [B, T, D] -> the heads that the network has.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from attn_research.attention import Full, Mask, softmax
from attn_research.layers.contracts import Capture, Classified
from attn_research.layers.dense import Dense
from attn_research.layers.embeddings import LearnedPositions, SinusoidalPositions, token_positions
from attn_research.layers.feed_forward import BlockConfig
from attn_research.layers.heads import NORMAL, MaskedLM, Pooler
from attn_research.layers.masking import check_layers, texts_of_rows, within_texts
from attn_research.layers.multihead import MultiHeadAttention
from attn_research.layers.normalizing import Normalizer
from attn_research.layers.pooling import mean_of_texts
from attn_research.layers.remat import Remat
from attn_research.layers.scoring import Scoring, make_scoring
from attn_research.layers.stack import run_layers
from attn_research.layers.transformer import BLOCK_RULES, EncoderBlock
from attn_research.types import Array, Bool, Float, Int

# Layers, width, feed-forward width and heads. Turc et al. 2019 have the sizes below base.
SIZES = {
    "tiny": (2, 128, 512, 2),
    "mini": (4, 256, 1024, 4),
    "small": (4, 512, 2048, 8),
    "medium": (8, 512, 2048, 8),
    "base": (12, 768, 3072, 12),
    "large": (24, 1024, 4096, 16),
}
HEADS = "pooler", "masked_lm", "next_sentence", "classifier", "token_classifier"
READS_POOLED = "next_sentence", "classifier"


class BertOutput(NamedTuple):
    """States of the last layer, and what the heads made of them, by name of the head.

    Where captured, `layers` are the embeddings and the states after each block, `weights` those of
    the heads of attention.
    """

    states: Float[Array, "B T D"]
    heads: dict[str, Array]
    layers: Float[Array, "B Lplus1 T D"] | None
    weights: Float[Array, "B L N T T"] | None


class Bert(nn.Module):
    """An encoder of `num_layers` blocks over words of `vocab_size`, with some of `HEADS`.

    `heads` may be "pooler" [B, D], "masked_lm" [B, T, V], "next_sentence" [B, 2], "classifier" [B,
    num_classes] and "token_classifier" [B, T, num_classes], all but the first as logits. The first
    position is row `first_position` of the table of `max_length` rows, which RoBERTa begins with
    its padding. ALBERT has embeddings of another width, `embedding_dim`, that are projected to
    `model_dim`, and `share_layers`, one set of parameters for all blocks. `mask` is of the
    self-attention, which may differ by head and layer, `scoring` and `normalizer` of every head.
    `attention` makes the heads: `LongformerAttention` projects global tokens separately.
    `kernel_init` is of all kernels: the paper's N(0, 0.02²) is for layers 768 wide, and narrow ones
    learn slowly from it. With `sinusoidal` positions have sines in place of a table.
    """

    vocab_size: int
    num_layers: int
    model_dim: int
    mlp_dim: int
    num_heads: int
    _: dataclasses.KW_ONLY
    heads: tuple[str, ...] = ()
    num_classes: int = 2
    max_length: int = 512
    num_types: int = 2
    first_position: int = 0
    embedding_dim: int | None = None
    share_layers: bool = False
    activation: str = "gelu"
    norm_epsilon: float = 1e-12
    dropout: float = 0.0
    attention_dropout: float = 0.0
    classifier_dropout: float = 0.0
    scoring: Scoring = make_scoring("scaled_dot")
    normalizer: Normalizer = softmax
    mask: Mask = Full()
    attention: Callable[..., MultiHeadAttention] = MultiHeadAttention
    kernel_init: nn.initializers.Initializer = NORMAL
    embedding_init: nn.initializers.Initializer = NORMAL
    sinusoidal: bool = False
    implementation: str | None = None
    remat: Remat = "none"
    tensor_rules: ClassVar = (*BLOCK_RULES, ("words/embedding$", ("tensor", None)))
    takes_segments: ClassVar[bool] = True

    def setup(self):
        self._check()
        width = self.embedding_dim or self.model_dim
        self.words = nn.Embed(self.vocab_size, width, embedding_init=self.embedding_init)
        learned = LearnedPositions(self.max_length, NORMAL)
        self.positions = SinusoidalPositions() if self.sinusoidal else learned
        self.types = nn.Embed(self.num_types, width, embedding_init=NORMAL)
        config = BlockConfig(
            dropout=self.dropout,
            activation=self.activation,
            norm_epsilon=self.norm_epsilon,
            kernel_init=self.kernel_init,
        )
        self.norm = config.make_norm()
        if self.embedding_dim is not None:
            self.project = Dense(self.model_dim, kernel_init=self.kernel_init)
        attention = self.attention(
            self.num_heads,
            self.model_dim // self.num_heads,
            use_bias=True,
            dropout=self.attention_dropout,
            scoring=self.scoring.clone(parent=None),
            normalizer=self.normalizer,
            kernel_init=self.kernel_init,
            implementation=self.implementation,
        )
        self.blocks = EncoderBlock(attention, self.mlp_dim, config)
        self.drop = nn.Dropout(self.dropout)
        self.drop_pooled = nn.Dropout(self.classifier_dropout)
        if "pooler" in self.heads:
            self.pooler = Pooler(self.kernel_init)
        if "masked_lm" in self.heads:
            self.masked_lm = MaskedLM(width, config, self.kernel_init)
        if "next_sentence" in self.heads:
            self.next_sentence = Dense(2, kernel_init=self.kernel_init)
        if "classifier" in self.heads:
            self.classifier = Dense(self.num_classes, kernel_init=self.kernel_init)
        if "token_classifier" in self.heads:
            self.token_classifier = Dense(self.num_classes, kernel_init=self.kernel_init)

    def __call__(
        self,
        ids: Int[Array, "B T"],
        valid: Bool[Array, "B T"] | None = None,
        *,
        types: Int[Array, "B T"] | None = None,
        segments: Int[Array, "B T"] | None = None,
        positions: Int[Array, "B T"] | None = None,
        mask: Mask | None = None,
        train: bool = False,
        capture: Capture = None,
    ) -> BertOutput:
        """The states of a batch of texts, and what the heads make of them.

        `valid` is false at padding, which no word attends to; its states mean nothing. `segments`
        number the texts of packed rows, of which none attends to another; pooling reads the first
        of a row. `types` of tokens are 0 where None. `positions` count from 0 in each text, and
        padding takes none; rows of the table count from `first_position`. `mask`, such as one with
        the global tokens of these texts, stands for that of the network.
        """
        states = self._embed(ids, types, self._rows(ids, valid, segments, positions), train=train)
        mask = (self.mask if mask is None else mask).of_length(ids.shape[-1])
        check_layers(mask, self.num_layers)
        mask = within_texts(mask, valid, segments)

        def run(block, states, layer, capture):
            return block(states, mask.of_layer(layer), train=train, capture=capture)

        loop = dict(num_layers=self.num_layers, policy=self.remat, share=self.share_layers)
        last, *captured = run_layers(run, self.blocks, states, capture=capture, **loop)
        return BertOutput(last, self.read(last, train=train), *captured)

    def read(self, states: Float[Array, "*B T D"], *, train: bool = False) -> dict[str, Array]:
        """What the heads make of states, by name; "masked_lm" takes those of any positions."""
        found = {}
        if "masked_lm" in self.heads:
            found["masked_lm"] = self.word_logits(states)
        if "token_classifier" in self.heads:
            dropped = self.drop_pooled(states, deterministic=not train)
            found["token_classifier"] = self.token_classifier(dropped)
        if "pooler" in self.heads:
            found["pooler"] = self.pooler(states)
        if "next_sentence" in self.heads:
            found["next_sentence"] = self.next_sentence(found["pooler"])
        if "classifier" in self.heads:
            dropped = self.drop_pooled(found["pooler"], deterministic=not train)
            found["classifier"] = self.classifier(dropped)
        return found

    def word_logits(self, states: Float[Array, "*B D"]) -> Float[Array, "*B V"]:
        """The logits of the masked language model for some states alone, such as masked ones."""
        return self.masked_lm(states, self.words.attend)

    def _rows(self, ids, valid, segments, positions):
        """The rows of the table of positions; ValueError where the table is too short."""
        rows = self.max_length - self.first_position
        counted = positions is None and segments is None and not self.sinusoidal
        if counted and ids.shape[-1] > rows:
            raise ValueError(f"a text of {ids.shape[-1]} tokens is longer than {rows} positions")
        if positions is None:
            positions = token_positions(ids, valid, segments)
        return positions + self.first_position

    def _embed(self, ids, types, rows, *, train):
        """Embeddings of words, positions and types, of width `embedding_dim` up to the norm."""
        width = self.embedding_dim or self.model_dim
        types = jnp.zeros((1, 1), jnp.int32) if types is None else types
        embedded = self.words(ids) + self.types(types) + self.positions(rows, width)
        embedded = self.drop(self.norm(embedded), deterministic=not train)
        return embedded if self.embedding_dim is None else self.project(embedded)

    def _check(self):
        if self.model_dim % self.num_heads:
            raise ValueError(
                f"model_dim {self.model_dim} is not a multiple of num_heads {self.num_heads}"
            )
        for head in self.heads:
            if head not in HEADS:
                raise ValueError(f"head {head!r} is not one of {', '.join(HEADS)}")
            if head in READS_POOLED and "pooler" not in self.heads:
                raise ValueError(f'the head "{head}" reads what "pooler" makes: give both')


class BertClassifier(nn.Module):
    """A `TextClassifier`: BERT's logits of texts, or of each token.

    `bert` has the head "classifier" or "token_classifier", and its parameters are those of this
    network too. The pooler reads the state of a text's first token, or with `pooling` "mean" the
    mean of the states of its tokens. Up to `max_examples` texts share a row that has segments.
    """

    bert: Bert
    max_examples: int = 1
    pooling: Literal["class", "mean"] = "class"
    tensor_rules: ClassVar = Bert.tensor_rules
    takes_segments: ClassVar[bool] = True

    def setup(self):
        nn.share_scope(self, self.bert)

    def __call__(
        self,
        ids: Int[Array, "B T"],
        valid: Bool[Array, "B T"],
        *,
        segments: Int[Array, "B T"] | None = None,
        train: bool = False,
        **options,
    ) -> Classified:
        """The classification of texts: see `TextClassifier`. `segments` say where padding is."""
        valid = valid if segments is None else None
        found = self.bert(ids, valid, segments=segments, train=train, **options)
        if "token_classifier" in self.bert.heads:
            return Classified(found.heads["token_classifier"], found.weights)
        if segments is None and self.pooling == "class":
            return Classified(found.heads["classifier"], found.weights)
        texts = valid[:, None] if segments is None else texts_of_rows(segments, self.max_examples)
        states = self._pooled(found.states, texts)
        logits = self.bert.read(states[:, :, None], train=train)["classifier"]
        return Classified(logits[:, 0] if segments is None else logits, found.weights)

    def _pooled(self, states, texts):
        """What the pooler reads of each text; any state, of a text not there."""
        if self.pooling == "mean":
            return mean_of_texts(states, texts)
        first = jnp.argmax(texts, axis=-1)  # [B, E]
        return jnp.take_along_axis(states, first[:, :, None], axis=1)
