"""What a translation model says of its test sets, kept as text beside the results.

For each test set SET: `SET.hypotheses.txt`; where a shortlist leaves words out `SET.no_unk.txt`
(index, tab, hypothesis), the sentences without an unknown word, and with `--replace_unknown`
`SET.replaced.txt`; where gold links are known `SET.links.txt` (i-j from forced decoding), with
`--soft_links` `SET.soft.txt` (i-j:weight), and of a model with heads `SET.heads.json`: for every
sentence, layer and head the source word that each row of weights looks at most.
`experiments.scores` makes every number from them.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from attn_research.data.corpus import Pair
from attn_research.data.encoding import encode_pairs
from attn_research.data.files import write_whole
from attn_research.data.tokenizers import EOS, PAD, UNK, SubwordTokenizer
from attn_research.data.treebank import LINES
from attn_research.evaluation.alignment import links_from_weights, soft_links
from attn_research.evaluation.bleu import without_unknown
from attn_research.evaluation.unknown import learn_dictionary, replace_unknown
from experiments.pair_batches import eval_batches
from experiments.translation import Task, TranslationConfig, limits, sample_text

Search = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
Align = Callable[[np.ndarray, np.ndarray], np.ndarray]
LEAST_WEIGHT = 0.005  # of a soft link that is kept


def predict(
    task: Task,
    config: TranslationConfig,
    search: Search,
    align: Align | None,
    row_of: Literal["predicted", "input"],
    folder: Path,
) -> None:
    """Translates and aligns every test set, and writes the predictions.

    `search(source, limits, forbidden)` gives ids [B, T] without that id; `align(source, target)`
    gives weights [B, T, S], a row of which belongs to the word that `row_of` says.
    """
    dictionary = None
    if align is not None and config.replace_unknown and _has_unknown(task):
        dictionary = _learn(task, config, align, row_of)
    for name, pairs in task.tests.items():
        encoded = encode_pairs(pairs, *task.tokenizers)
        found = _translate(task, config, encoded, range(len(pairs)), search, PAD)
        hypotheses = [found[i] for i in range(len(pairs))]
        _write_lines(folder / f"{name}.hypotheses.txt", hypotheses)
        if _has_unknown(task) and task.languages[1] not in LINES:
            words = [frozenset(tokenizer.shortlist) for tokenizer in task.tokenizers]
            sides = [[pair[side] for pair in pairs] for side in (0, 1)]
            known = without_unknown(*sides, *words)
            clean = _translate(task, config, encoded, known, search, UNK)
            lines = [f"{i}\t{clean[i]}" for i in known]
            _write_lines(folder / f"{name}.no_unk.txt", lines)
        if dictionary is not None:
            replaced = _replace(task, config, pairs, hypotheses, align, row_of, dictionary)
            _write_lines(folder / f"{name}.replaced.txt", replaced)
        if align is not None and any(pair.sure for pair in pairs):
            _write_links(config, encoded, align, row_of, folder / name)


def _write_links(config, encoded, align, row_of, stem: Path) -> None:
    """Forced alignments of a test set: the largest weight of each word, and all where asked for."""
    hard, soft = [""] * len(encoded), [""] * len(encoded)
    for i, weights in _weights(config, encoded, align):
        sizes = tuple(map(int, encoded.lengths[i]))
        links = sorted(links_from_weights(weights, *sizes, row_of=row_of))
        hard[i] = " ".join(f"{i}-{j}" for i, j in links)
        if config.soft_links:
            every = sorted(soft_links(weights, *sizes, row_of=row_of).items())
            soft[i] = " ".join(f"{i}-{j}:{w:.3f}" for (i, j), w in every if w > LEAST_WEIGHT)
    _write_lines(stem.with_name(f"{stem.name}.links.txt"), hard)
    if config.soft_links:
        _write_lines(stem.with_name(f"{stem.name}.soft.txt"), soft)


def keep_heads(task: Task, config: TranslationConfig, align: Align, folder: Path) -> None:
    """Where each head looks in forced decoding, for test sets with gold links.

    `align(source, target)` gives weights [B, L, N, T, S].
    """
    for name, pairs in task.tests.items():
        if not any(pair.sure for pair in pairs):
            continue
        encoded = encode_pairs(pairs, *task.tokenizers)
        found: list = [None] * len(pairs)
        for i, weights in _weights(config, encoded, align):
            source, target = map(int, encoded.lengths[i])
            # The last row is that of the end symbol, which has no word to look at it before.
            found[i] = weights[:, :, : target + 1, :source].argmax(axis=-1).tolist()
        write_whole(folder / f"{name}.heads.json", json.dumps(found).encode())


def _has_unknown(task: Task) -> bool:
    """Whether a word can be unknown: subwords spell out every one."""
    return not isinstance(task.tokenizers[0], SubwordTokenizer)


def _translate(task, config, encoded, chosen, search, forbidden) -> dict[int, str]:
    """The translations of the chosen sentences."""
    chosen = set(chosen)
    found = {}
    for members, batch in eval_batches(config, encoded):
        if chosen.isdisjoint(members.tolist()):
            continue
        ids = np.asarray(search(batch["source"], limits(config, batch["source"]), forbidden))
        for i, row in zip(members.tolist(), ids, strict=False):
            if i in chosen:
                found[i] = task.tokenizers[1].decode(row[: _end(row)])
    return found


def _end(ids: np.ndarray) -> int:
    ends = np.flatnonzero((ids == EOS) | (ids == PAD))
    return int(ends[0]) if len(ends) else len(ids)


def _weights(config, encoded, align) -> Iterator[tuple[int, np.ndarray]]:
    """(index, weights [T, S]) of every pair."""
    for members, batch in eval_batches(config, encoded):
        weights = np.asarray(align(batch["source"], batch["target"]))
        yield from zip(members.tolist(), weights, strict=False)


def _learn(task: Task, config: TranslationConfig, align: Align, row_of) -> dict[str, str]:
    """A dictionary from forced alignments of training pairs."""
    pairs = sample_text(config, config.dictionary_pairs)
    encoded = encode_pairs(pairs, *task.tokenizers)
    links = [frozenset()] * len(pairs)
    for i, weights in _weights(config, encoded, align):
        links[i] = links_from_weights(weights, *map(int, encoded.lengths[i]), row_of=row_of)
    sentences = [(pair.source.split(), pair.target.split()) for pair in pairs]
    return learn_dictionary(sentences, links)


def _replace(task, config, pairs, translations, align, row_of, dictionary) -> list[str]:
    """The translations of pairs, with their unknown words replaced."""
    sources = [pair.source.split() for pair in pairs]
    targets = [line.split() for line in translations]
    replaced = list(translations)
    again = encode_pairs(
        (Pair(*sides) for sides in zip((p.source for p in pairs), translations, strict=True)),
        *task.tokenizers,
    )
    for i, weights in _weights(config, again, align):
        links = links_from_weights(weights, *map(int, again.lengths[i]), row_of=row_of)
        words = replace_unknown(targets[i], sources[i], links, dictionary)
        replaced[i] = " ".join(words)
    return replaced


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_whole(path, "".join(f"{line}\n" for line in lines).encode())
