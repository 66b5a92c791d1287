"""A published checkpoint with its tokenizer, and what it can do."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from attn_research.data.files import read_json_object
from attn_research.layers.contracts import Capture, CaptureSome
from attn_research.models.bert import Bert
from attn_research.models.gpt import GPT
from attn_research.models.transformer import Transformer
from attn_research.pretrained import Checkpoint, from_checkpoint, read_checkpoint
from attn_research.pretrained.marian_tokenizer import MarianTokenizer
from attn_research.pretrained.tokenizers import PublishedTokenizer, load_tokenizer
from attn_research.types import Bool, Int, PyTree
from experiments.harness.task import AttentionMap, head_maps

# What the heads of an encoder do.
OF_HEADS = {"masked_lm": "fill-mask", "classifier": "classify", "token_classifier": "classify"}
ABILITIES = "fill-mask", "classify", "embed", "continue", "translate", "transcribe"
_ROUND = 8  # rows are padded to multiples of it, so that few programs are compiled
_SHORTEST = 16  # one row alone is padded to this, and to powers of two above


@dataclasses.dataclass(frozen=True, eq=False)
class Published:
    """A network, its parameters on the host, its tokenizer, and the fields of its config."""

    network: nn.Module
    params: PyTree
    tokenizer: PublishedTokenizer | MarianTokenizer
    config: dict[str, Any]

    @property
    def abilities(self) -> tuple[str, ...]:
        """What the model can do, its default first."""
        if isinstance(self.network, GPT):
            return ("continue",)
        if isinstance(self.network, Transformer):
            return ("translate",) if self.network.stem is None else ("transcribe",)
        return *dict.fromkeys(OF_HEADS[h] for h in self.network.heads if h in OF_HEADS), "embed"

    def choose(self, wanted: str) -> str:
        """The ability of that name, or the default where it is empty; ValueError for no ability."""
        if wanted and wanted not in self.abilities:
            raise ValueError(
                f"--do={wanted}: this {type(self.network).__name__} does "
                f"{' and '.join(self.abilities)}"
            )
        return wanted or self.abilities[0]

    def encode(self, text: str, pair: str | None = None) -> tuple[list[int], list[int]]:
        """The ids and types of a text; ValueError where it is empty or too long."""
        ids, types = self.tokenizer.encode(text, pair)
        if not text.strip():
            raise ValueError("an empty text: give some words")
        if self.longest is not None and len(ids) > self.longest:
            raise ValueError(
                f"a text of {len(ids)} tokens is longer than the {self.longest} positions of the "
                f"model: {text[:40]!r}..."
            )
        return ids, types

    @property
    def longest(self) -> int | None:
        """The number of positions; None where there is no limit."""
        if isinstance(self.network, GPT | Transformer):
            return getattr(self.network.positions, "max_length", None)
        return self.network.max_length - self.network.first_position

    @property
    def num_layers(self) -> int:
        """The number of layers whose attention is drawn, of a translator those of the decoder."""
        return getattr(self.network, "num_decoder_layers", None) or self.network.num_layers

    @functools.cached_property
    def on_device(self) -> PyTree:
        return jax.tree.map(jnp.asarray, self.params)

    def read(self, ids: list[int], types: list[int] | None = None, *, capture: Any = None) -> Any:
        """The network's output for one text, of which each array has a batch axis of one.

        Rows are padded, so that texts of similar lengths share a program. States, logits and
        weights of padding are those of no token.
        """
        size = max(_SHORTEST, 1 << (len(ids) - 1).bit_length())
        size = size if self.longest is None else min(size, self.longest)
        # A mask may depend on the length of a row, and is that of the text's own.
        mask, own = self.network.mask, self.network.mask.of_length(len(ids))
        size = next(each for each in range(size, 0, -1) if mask.of_length(each) == own)
        padding = [(0, size - len(ids))]
        options = {} if types is None else {"types": jnp.asarray(np.pad(types, padding)[None])}
        row, valid = np.pad(np.int32(ids), padding)[None], np.arange(size)[None] < len(ids)
        run = _compiled(self.network, capture)
        return run(self.on_device, jnp.asarray(row), jnp.asarray(valid), **options)

    def maps(
        self, ids: list[int], weights: jax.Array, capture: Capture = "all"
    ) -> dict[str, AttentionMap]:
        """The attention maps of a text, of the weights [1, L, N, T, T] that were captured."""
        labels, count = self.tokenizer.labels(ids), len(ids)
        found = np.asarray(weights)[0, :, :, :count, :count]
        numbers = (capture.layers, capture.heads) if isinstance(capture, CaptureSome) else None
        return head_maps(found, labels, labels, numbers)


def pad_rows(
    texts: Sequence[Sequence[int]], num_rows: int = 0
) -> tuple[Int[np.ndarray, "rows T"], Bool[np.ndarray, "rows T"]]:
    """Texts as rows of ids, and which of the ids are theirs; empty rows up to `num_rows`."""
    longest = max(map(len, texts))
    ids = np.zeros((max(num_rows, len(texts)), -(-longest // _ROUND) * _ROUND), np.int32)
    valid = np.zeros(ids.shape, bool)
    for row, text in enumerate(texts):
        ids[row, : len(text)], valid[row, : len(text)] = text, True
    return ids, valid


@functools.cache
def _compiled(network: nn.Module, capture: Any) -> Any:
    return jax.jit(functools.partial(network.apply, capture=capture))


def load_published(path: str | Path) -> Published:
    """The checkpoint in a folder, or in a GGUF file; ValueError or OSError where it is unfit.

    That is also where it reads neither text nor sounds.
    """
    checkpoint = read_checkpoint(path)
    network, params = from_checkpoint(checkpoint)
    config = checkpoint.config
    if isinstance(network, Transformer):
        sizes = (network.target_vocab,)
        if network.stem is None:
            sizes = network.source_vocab, network.target_vocab
        config = _generation(checkpoint) | config
    elif isinstance(network, Bert | GPT):
        sizes = (network.vocab_size,)
    else:
        raise ValueError(
            f"{path}: this {checkpoint.architectures()[-1]} does not read text alone, nor "
            "sounds; models like BERT, GPT, Llama, Marian, T5 and Whisper do"
        )
    return Published(network, params, load_tokenizer(checkpoint, *sizes), config)


def _generation(checkpoint: Checkpoint) -> dict[str, Any]:
    """The fields of generation_config.json, where newer folders keep the special tokens."""
    path = (checkpoint.where or Path()) / "generation_config.json"
    return read_json_object(path) if path.is_file() else {}
