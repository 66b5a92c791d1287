"""What is read off a trained encoder-decoder: translations, alignments, where its heads look."""

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from attn_research.data.encoding import encode_pairs
from attn_research.data.files import write_whole
from attn_research.data.tokenizers import BOS, EOS, PAD
from attn_research.decoding import Vocabulary, beam_search
from attn_research.types import PyTree
from attn_research.viewing import plots
from attn_research.viewing.attention_maps import Panel, attention_figure
from experiments import pair_batches, predictions, probe, scores, translation
from experiments.pair_batches import previous_words
from experiments.paper import run_name
from experiments.translation import TranslationConfig


@dataclasses.dataclass(frozen=True)
class Reader:
    """How a network's alignments are read.

    `row_of` says which word the weights of a step belong to, the one it predicts or the one it
    takes in (Luong, Pham, Manning 2015, footnote 14); None: it has no alignments. With `heads` both
    sides look by layers and heads, and the alignment is that of the layer before the last, the mean
    of its heads (Garg et al. 2019).
    """

    network: nn.Module
    row_of: Literal["predicted", "input"] | None
    heads: bool = False


def evaluate_members(
    config: TranslationConfig,
    task: translation.Task,
    members: Sequence[tuple[Reader, PyTree]],
    folder: Path,
) -> dict[str, Any]:
    """Predictions of one network, or of several whose next-word distributions are averaged."""
    readers = [reader for reader, _ in members]
    params = [params for _, params in members]
    networks = [reader.network for reader in readers]
    translate = functools.partial(jax.jit(functools.partial(search, networks, config)), params)
    align, row_of = None, readers[0].row_of
    if row_of is not None and all(reader.row_of == row_of for reader in readers):
        align = functools.partial(jax.jit(functools.partial(_align, networks)), params)
    predictions.predict(task, config, translate, align, row_of or "predicted", folder)
    if align is not None:
        _keep_alignments(config, task, translate, align, folder)
    if len(members) == 1:
        _keep_looks(config, task, *members[0], folder)
    return rescore(config, folder)


def _keep_looks(config, task, reader: Reader, params: PyTree, folder: Path) -> None:
    """What is asked of one network alone: where each head looks, and whom pronouns mean."""
    if reader.heads:
        align = functools.partial(
            jax.jit(functools.partial(_look, reader, log_probs=False)), params
        )
        predictions.keep_heads(task, config, lambda *batch: align(*batch).cross, folder)
        _keep_maps(config, task, align, folder)
    if probe.has_pronouns(config):
        look = jax.jit(functools.partial(_look, reader))
        probe.predict(task, config, functools.partial(look, params), folder)


def _keep_maps(config, task, align, folder: Path) -> None:
    """Where every head looks in one pair, given its target.

    It is the shortest with a pronoun of two nouns, else the first of 8 to 16 words a side.
    """
    name, pairs = next(iter(task.tests.items()))
    if probe.has_pronouns(config):
        pair = probe.shortest_with_one(task, config, name)
    else:
        fitting = (p for p in pairs if all(8 <= len(side.split()) <= 16 for side in p[:2]))
        pair = next(fitting, pairs[0])
    encoded = encode_pairs([pair], *task.tokenizers)
    ((_, batch),) = pair_batches.eval_batches(config, encoded, batch_size=1)
    seen = align(batch["source"], batch["target"])
    words = [
        [tokenizer.decode([x]) for x in ids]
        for tokenizer, ids in zip(task.tokenizers, encoded[0], strict=True)
    ]
    rows, columns = (len(side) + 1 for side in (words[1], words[0]))
    maps = {
        "words": words,
        "encoder": np.asarray(seen.encoder)[0, :, :, :columns, :columns].round(3).tolist(),
        "cross": np.asarray(seen.cross)[0, :, :, :rows, :columns].round(3).tolist(),
        "decoder": np.asarray(seen.decoder)[0, :, :, :rows, :rows].round(3).tolist(),
    }
    write_whole(folder / "maps.json", json.dumps(maps, ensure_ascii=False).encode())


def _look(reader: Reader, params, source, target, log_probs: bool = True) -> probe.Look:
    """What a network says of given pairs; weights have axes for layers and heads."""
    apply = functools.partial(reader.network.apply, params)
    ask = {"capture": "all"} if reader.heads else {}
    encoded = apply(source, source != PAD, method="encode", **ask)
    capture = None if reader.row_of is None else "all"
    hidden = apply(encoded, previous_words(target), method="decode_states", capture=capture)
    said = jax.nn.log_softmax(apply(hidden.states, method="score_words")) if log_probs else None
    cross = hidden.weights
    if cross is not None and not reader.heads:
        cross = cross[:, None, None]
    return probe.Look(said, encoded.weights, cross, hidden.past)


def search(networks, config, params, source, limits, forbidden):
    """The best translation [B, T] of each source sentence."""
    encoded, states = [], []
    max_length = int(translation.longest(config, source.shape[1]))
    for network, p in zip(networks, params, strict=True):
        encoded.append(network.apply(p, source, source != PAD, method="encode"))
        states.append(network.apply(p, encoded[-1], max_length, method="begin"))

    def step(states, words):
        if len(networks) == 1:  # the search takes logits as well
            (network,), (p,), (one,), (state,) = networks, params, encoded, states
            logits, state, _ = network.apply(p, one.memory, state, words, method="step")
            return logits, [state], ()
        log_probs, after = [], []
        for network, p, one, state in zip(networks, params, encoded, states, strict=True):
            logits, state, _ = network.apply(p, one.memory, state, words, method="step")
            log_probs.append(jax.nn.log_softmax(logits))
            after.append(state)
        mean = jax.nn.logsumexp(jnp.stack(log_probs), axis=0) - jnp.log(len(networks))
        return mean, after, ()

    return beam_search(
        step,
        states,
        limits,
        max_length=max_length,
        beam_size=config.beam_size,
        vocabulary=Vocabulary(PAD, BOS, EOS, (forbidden,)),
        alpha=config.length_penalty,
        offset=config.length_offset,
    ).tokens[:, 0]


def _align(networks, params, source, target):
    """The weights [B, T, S] of each target word, given those before it; the mean over networks."""
    maps = []
    for network, p in zip(networks, params, strict=True):
        previous = previous_words(target)
        weights = network.apply(p, source, source != PAD, previous, capture="all").weights
        if weights.ndim == 5:  # [B, L, N, T, S]
            weights = weights[:, max(0, weights.shape[1] - 2)].mean(axis=1)
        maps.append(weights)
    return sum(maps) / len(maps)


def _keep_alignments(config, task, translate, align, folder: Path, count: int = 4) -> None:
    """Where the model looked for its own translations of a few sentences."""
    pairs = next(iter(task.tests.values()))
    # As in Bahdanau et al.'s Figure 3, of 10 to 20 words; the first of them, none picked by hand.
    fitting = [pair for pair in pairs if 10 <= len(pair.source.split()) <= 20][:count]
    panels = []
    if fitting:
        encoded = encode_pairs(fitting, *task.tokenizers)
        ((members, batch),) = pair_batches.eval_batches(config, encoded, batch_size=count)
        limits = translation.limits(config, batch["source"])
        found = np.asarray(translate(batch["source"], limits, PAD))
        weights = np.asarray(align(batch["source"], found))
        for i in np.argsort(members):
            ids = [row[row != PAD] for row in (batch["source"][i], found[i])]
            words = [
                [tokenizer.decode([x]) for x in row if x != EOS]
                for tokenizer, row in zip(task.tokenizers, ids, strict=True)
            ]
            seen = weights[i, : len(ids[1]), : len(ids[0])]
            panels.append({"words": words, "weights": seen.round(4).tolist()})
    write_whole(folder / "alignments.json", json.dumps(panels, ensure_ascii=False).encode())


def draw_alignments(folder: Path, results: dict[str, list[dict]], figure: str) -> None:
    """`FIGURE-ROW.png` for each row of which alignments were kept."""
    for row, runs in results.items():
        path = folder / run_name(row, runs[0]["config"]["seed"]) / "alignments.json"
        if path.exists():
            panels = [
                Panel(np.array(panel["weights"]), *panel["words"])
                for panel in json.loads(path.read_text())
            ]
            plots.save(attention_figure(panels), folder / f"{figure}-{row}.png")


def rescore(config: TranslationConfig, folder: Path) -> dict[str, Any]:
    """The scores of a run, computed again from the predictions in `folder`."""
    return scores.score_all(translation.gold(config), folder, config.languages.split("-")[1])
