"""The task of masked language modelling, and of next words by the same network."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import jax.numpy as jnp
import numpy as np

from attn_research.data.text.masking import (
    Ids,
    MaskedTexts,
    Masking,
    collate_masked,
    example_rng,
    next_words,
)
from attn_research.data.text.minimal_pairs import MinimalPair, blimp_file, draw_pairs, read_blimp
from attn_research.data.text.rows import NOTHING, Packing, Stream, pack, strided
from attn_research.data.text.tokenizers import BOS, SPECIALS, SubwordTokenizer
from attn_research.models.bert import Bert
from attn_research.training.objectives import chunked_cross_entropy
from attn_research.training.step import Sums
from attn_research.types import PyTree
from experiments.harness.config import config_placement
from experiments.harness.task import Response, head_maps
from experiments.tasks.language_modeling import data
from experiments.tasks.language_modeling.base import TextTask
from experiments.tasks.language_modeling.blanks import (
    Reader,
    draw_blanks,
    score_blanks,
    write_blanks,
)
from experiments.tasks.language_modeling.config import TESTS
from experiments.tasks.language_modeling.inference import eval_rows
from experiments.tasks.language_modeling.pairs import FILE as PAIRS
from experiments.tasks.language_modeling.pairs import score_pairs, write_pairs

BLANK = "[MASK]"


@dataclasses.dataclass(frozen=True)
class MaskedLanguageModelingTask(TextTask):
    """Prediction of masked words of lines or paragraphs, packed into rows, or of each next word.

    A text is read after BOS; a mask is the id after those of the tokenizer.
    """

    example: ClassVar[str] = f'--text="the {BLANK} of my friend" --attention=map.png'

    @property
    def mask(self) -> int:
        """The id of a mask."""
        return self.vocab_size - 1

    @property
    def vocab_size(self) -> int:
        """The vocabulary size, the mask included."""
        return super().vocab_size + 1

    @property
    def _packed(self) -> bool:
        return True

    @property
    def _masked(self) -> bool:
        return self.config.task.masking.objective == "masked"

    def check(self) -> None:
        part = self.config.task
        data.check_text(part.text)
        self._masking  # noqa: B018 (refuses fractions that are none)
        if part.masking.pairs:
            blimp_file(part.text.data_dir or None)
        if part.rows.rows != "packed":
            raise ValueError(f"--rows={part.rows.rows}: texts are masked whole; give --rows=packed")
        if part.text.tokenizer not in ("words", "subwords"):
            raise ValueError(
                f"--tokenizer={part.text.tokenizer}: words or subwords are masked, give one of them"
            )

    def load(self) -> Self:
        found = super().load()
        context = self.config.task.rows.context
        for text in (text for pair in found._pairs for text in (pair.good, pair.bad)):
            if (count := 1 + len(found.tokenizer.encode(text))) > context:
                raise ValueError(
                    f"--context={context}: a sentence of BLiMP has {count} tokens, {text!r}; give "
                    "more, or --pairs=0"
                )
        return found

    @functools.cached_property
    def _pairs(self) -> list[MinimalPair]:
        """The minimal pairs that are judged at the end."""
        part = self.config.task
        if not part.masking.pairs:
            return []
        return draw_pairs(read_blimp(part.text.data_dir or None), part.masking.pairs, seed=0)

    @property
    def _words(self) -> range:
        return range(len(SPECIALS), self.mask)

    @property
    def _masking(self):
        part = self.config.task.masking
        if not self._masked:
            return next_words
        return Masking(self.mask, self._words, part.masking, part.mask_share, part.random_share)

    def _texts(self, stream: Stream) -> list[Ids]:
        """The texts of a stream: its documents, or pieces of those that are longer than a row."""
        part = self.config.task.rows
        pieces = strided(stream.documents(part.document), part.context - 1, part.context - 1)
        begin = np.array([BOS], np.int32)
        return [np.concatenate([begin, stream.ids[first:end]]) for first, _, end in pieces.tolist()]

    @functools.cached_property
    def _train(self) -> MaskedTexts:
        part, texts = self.config.task.rows, self._texts(self.data.train)
        lengths = np.array([len(ids) for ids in texts]) - (not self._masked)
        multiple = config_placement(self.config).row_multiple
        sizes = part.batch_size, part.context, self.config.train.seed, multiple
        return MaskedTexts(texts, self._masking, Packing(lengths, *sizes))

    def eval_batches(self, split: str) -> Iterator[PyTree]:
        """Every text of "dev" once, with masks that are always the same; of "train" as many."""
        texts = self._texts(self.data.dev)
        if split == "train":
            texts = self._train.texts[:: max(1, len(self._train.texts) // len(texts))]
        masked = [self._masking(ids, example_rng(0, i)) for i, ids in enumerate(texts)]
        length = self.config.task.rows.context
        for chosen in pack([len(x.ids) for x in masked], eval_rows(length), length):
            yield collate_masked([[masked[i] for i in row] for row in chosen], length)

    def loss(self, network: Bert, params, batch, key, *, train: bool) -> Sums:
        targets = batch["targets"]
        valid = targets != NOTHING
        states = network.apply(
            params, batch["ids"], segments=batch["segments"], train=train, rngs={"dropout": key}
        ).states

        def logits(states):
            return network.apply(params, states, method="word_logits")

        total, count = chunked_cross_entropy(logits, states, jnp.maximum(targets, 0), valid)
        return Sums(total, count, {"predicted": count})

    def _reader(self, networks, params) -> Reader:
        mask = self.mask if self._masked else None
        return Reader(networks, params, mask, self.config.task.rows.context)

    def predict(self, networks: Sequence[Bert], params: Sequence[PyTree], folder: Path) -> None:
        reader, part = self._reader(networks, params), self.config.task
        if part.masking.pairs:
            write_pairs(folder / PAIRS, self._pairs, reader, self.tokenizer.encode)
        for name, stream in self.data.tests.items():
            texts = self._texts(stream)
            blanks = draw_blanks(texts, self._words, part.masking.blanks, part.rows.context)
            # Without a mask the words after a blank are not seen anyway.
            sides = [reader.guess(blanks, whole=True), reader.guess(blanks, whole=False)]
            write_blanks(folder / f"{name}.blanks.tsv", blanks, sides, self._surface)

    def score(self, folder: Path) -> dict[str, Any]:
        scores, hashes, more = {}, {}, {}
        if self.config.task.masking.pairs:
            more["blimp"], hashes[PAIRS] = score_pairs(folder / PAIRS)
        for name in TESTS[self.config.task.text.data]:
            path = folder / f"{name}.blanks.tsv"
            scores[name], hashes[path.name] = score_blanks(path)
        return {"tests": scores, "predictions": hashes} | more

    def _surface(self, token: int) -> str:
        """A name that no other id has: of a subword its piece, with a mark where a word ends."""
        if name := {BOS: SPECIALS[BOS], self.mask: BLANK}.get(token):
            return name
        lines = self.tokenizer.lines
        if isinstance(lines, SubwordTokenizer) and token != self.tokenizer.newline:
            return lines.piece(token)
        return self.tokenizer.decode([token]).replace("\n", "↵")

    def respond(
        self, networks: Sequence[Bert], params: Sequence[PyTree], inputs: Iterable[str]
    ) -> Iterator[Response]:
        """A line with one [MASK] in it, or the next word of a line without."""
        reader, context = self._reader(networks, params), self.config.task.rows.context
        for line in inputs:
            before, blank, after = line.partition(BLANK)
            sides = [self.tokenizer.encode(x.strip()) if x.strip() else [] for x in (before, after)]
            if BLANK in after:
                raise ValueError(f"more than one {BLANK} in {line[:40]!r}: give one at most")
            if blank and not self._masked and after.strip():
                words = after.strip()[:40]
                raise ValueError(f"{words!r} after {BLANK}: this network predicts next words")
            end = [self.tokenizer.newline] if blank and self._masked else []
            ids = np.array([BOS, *sides[0], self.mask, *sides[1], *end], np.int32)
            if len(ids) > context:
                raise ValueError(f"{len(ids)} tokens in {line[:40]!r}: at most {context} are read")
            place = 1 + len(sides[0])
            found = reader.log_probs([ids], [place])[0]
            best = np.argsort(-found)[:5]
            scores = {self._surface(int(i)): float(np.exp(found[i])) for i in best}
            weights = networks[0].apply(params[0], jnp.asarray(ids[None]), capture="all").weights
            tokens = [self._surface(int(i)) for i in ids]
            guess = self.tokenizer.decode(best[:1]).replace("\n", "↵")
            words = f"{before.strip()} {guess} {after.strip()}".strip()
            yield Response(line, words, scores, head_maps(np.asarray(weights)[0], tokens, tokens))
