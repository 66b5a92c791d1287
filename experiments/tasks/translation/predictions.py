"""Predictions of a translation model on its test sets, kept as text beside the results.

For each test set SET: `SET.hypotheses.txt`; where a shortlist leaves words out `SET.no_unk.txt`
(index, tab, hypothesis), the sentences without an unknown word, and with `--replace_unknown`
`SET.replaced.txt`; where gold links are known, and an id is a word, `SET.links.txt` (i-j from
forced decoding), with `--soft_links` `SET.soft.txt` (i-j:weight), and of a model with heads
`SET.heads.json`: for every sentence, layer and head the source word that each row of weights
attends to most. A sentence without a source word has no links. Every number of a result is computed
from these files by `experiments.tasks.translation.scores`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from attn_research.data.files import write_whole
from attn_research.data.text.corpus import Pair
from attn_research.data.text.encoding import encode_pairs
from attn_research.data.text.tokenizers import EOS, PAD, UNK, SubwordTokenizer
from attn_research.data.text.treebank import LINES
from attn_research.evaluation.alignment import links_from_weights, soft_links
from attn_research.evaluation.bleu import without_unknown
from attn_research.evaluation.unk_replacement import learn_dictionary, replace_unknown
from experiments.harness.config import Config
from experiments.tasks.translation.batches import eval_batches
from experiments.tasks.translation.data import Data, Tokenizers, sample_text
from experiments.tasks.translation.inference import Members

Align = Callable[[np.ndarray, np.ndarray], np.ndarray]
LEAST_WEIGHT = 0.005  # of a soft link that is kept


def predict(config: Config, data: Data, members: Members, folder: Path) -> None:
    """Translates and aligns every test set, and writes the predictions."""
    spec, part, dictionary = members.alignment, config.task.alignment, None
    if spec is not None and part.replace_unknown and _by_words(data.tokenizers):
        dictionary = _learn(config, data, members)
    for name, pairs in data.tests.items():
        encoded = data.encoded_tests[name]
        found = translate(config, data.tokenizers, encoded, members)
        hypotheses = [found[i] for i in range(len(pairs))]
        _write_lines(folder / f"{name}.hypotheses.txt", hypotheses)
        if _by_words(data.tokenizers) and _target_language(config) not in LINES:
            words = [frozenset(tokenizer.shortlist) for tokenizer in data.tokenizers]
            sides = [[pair[side] for pair in pairs] for side in (0, 1)]
            known = without_unknown(*sides, *words)
            clean = translate(
                config, data.tokenizers, encoded, members, chosen=known, forbidden=UNK
            )
            lines = [f"{i}\t{clean[i]}" for i in known]
            _write_lines(folder / f"{name}.no_unk.txt", lines)
        if dictionary is not None:
            replaced = _replace(
                config, data, pairs, hypotheses, members=members, dictionary=dictionary
            )
            _write_lines(folder / f"{name}.replaced.txt", replaced)
        # Gold links count words; places of subwords are others.
        if spec is not None and _by_words(data.tokenizers) and any(p.sure for p in pairs):
            _write_links(config, encoded, members, folder / name)


def _target_language(config: Config) -> str:
    return config.task.text.languages.split("-")[1]


def _write_links(config: Config, encoded, members: Members, stem: Path) -> None:
    """Forced alignments of a test set: the largest weight of each word, and all where asked for."""
    soft_wanted, row_of = config.task.alignment.soft_links, members.alignment.row
    hard, soft = [""] * len(encoded), [""] * len(encoded)
    for i, weights in _weights(config, encoded, members.align):
        sizes = tuple(map(int, encoded.lengths[i]))
        if not sizes[0]:  # no word to link to
            continue
        links = sorted(links_from_weights(weights, *sizes, row_of=row_of))
        hard[i] = " ".join(f"{i}-{j}" for i, j in links)
        if soft_wanted:
            every = sorted(soft_links(weights, *sizes, row_of=row_of).items())
            soft[i] = " ".join(f"{i}-{j}:{w:.3f}" for (i, j), w in every if w > LEAST_WEIGHT)
    _write_lines(stem.with_name(f"{stem.name}.links.txt"), hard)
    if soft_wanted:
        _write_lines(stem.with_name(f"{stem.name}.soft.txt"), soft)


def keep_heads(config: Config, data: Data, align: Align, folder: Path) -> None:
    """Writes where each head attends in forced decoding, for test sets with gold links.

    `align(source, target)` gives weights [B, L, N, T, S].
    """
    for name, pairs in data.tests.items():
        if not _by_words(data.tokenizers) or not any(pair.sure for pair in pairs):
            continue
        encoded = data.encoded_tests[name]
        found: list = [None] * len(pairs)
        for i, weights in _weights(config, encoded, align):
            source, target = map(int, encoded.lengths[i])
            if not source:
                found[i] = np.zeros((*weights.shape[:2], 0), int).tolist()
                continue
            # The last row is that of the end symbol, before which no word attends to it.
            found[i] = weights[:, :, : target + 1, :source].argmax(axis=-1).tolist()
        write_whole(folder / f"{name}.heads.json", json.dumps(found).encode())


def _by_words(tokenizers: Tokenizers) -> bool:
    """Whether an id is a word, or any unknown one: subwords spell out every word."""
    return not isinstance(tokenizers[0], SubwordTokenizer)


def translate(
    config: Config,
    tokenizers: Tokenizers,
    encoded,
    members: Members,
    *,
    chosen: Iterable[int] | None = None,
    forbidden: int = PAD,
) -> dict[int, str]:
    """The translations of the chosen pairs, or of all, by index."""
    chosen = set(range(len(encoded)) if chosen is None else chosen)
    found = {}
    for indices, batch in eval_batches(config.task.batching, encoded):
        if chosen.isdisjoint(indices.tolist()):
            continue
        ids = members.translate(batch["source"], forbidden)
        for i, row in zip(indices.tolist(), ids, strict=False):
            if i in chosen:
                found[i] = tokenizers[1].decode(row[: _end(row)])
    return found


def _end(ids: np.ndarray) -> int:
    ends = np.flatnonzero((ids == EOS) | (ids == PAD))
    return int(ends[0]) if len(ends) else len(ids)


def _weights(config: Config, encoded, align: Align) -> Iterator[tuple[int, np.ndarray]]:
    """(index, weights [T, S]) of every pair."""
    for indices, batch in eval_batches(config.task.batching, encoded):
        weights = np.asarray(align(batch["source"], batch["target"]))
        yield from zip(indices.tolist(), weights, strict=False)


def _links(config: Config, encoded, members: Members) -> Iterator[tuple[int, frozenset]]:
    """(index, links of the largest weights) of every pair."""
    for i, weights in _weights(config, encoded, members.align):
        source, target = map(int, encoded.lengths[i])
        row_of = members.alignment.row
        links = links_from_weights(weights, source, target, row_of=row_of) if source else ()
        yield i, frozenset(links)


def _learn(config: Config, data: Data, members: Members) -> dict[str, str]:
    """A dictionary from forced alignments of training pairs."""
    count, longest = config.task.alignment.dictionary_pairs, config.task.encoding.max_words
    pairs = sample_text(config.task.text, longest, count)
    links = [frozenset()] * len(pairs)
    for i, found in _links(config, encode_pairs(pairs, *data.tokenizers), members):
        links[i] = found
    sentences = [(pair.source.split(), pair.target.split()) for pair in pairs]
    return learn_dictionary(sentences, links)


def _replace(
    config: Config, data: Data, pairs, translations, *, members: Members, dictionary
) -> list[str]:
    """The translations of pairs, with their unknown words replaced."""
    sources = [pair.source.split() for pair in pairs]
    targets = [line.split() for line in translations]
    replaced = list(translations)
    again = encode_pairs(
        (Pair(*sides) for sides in zip((p.source for p in pairs), translations, strict=True)),
        *data.tokenizers,
    )
    for i, links in _links(config, again, members):
        words = replace_unknown(targets[i], sources[i], links, dictionary)
        replaced[i] = " ".join(words)
    return replaced


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_whole(path, "".join(f"{line}\n" for line in lines).encode())
