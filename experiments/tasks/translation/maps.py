"""Attention weights of translations, kept and drawn: alignments, and every head of one pair."""

import functools
import json
from pathlib import Path

import jax
import numpy as np

from attn_research.data.files import write_whole
from attn_research.data.text.encoding import encode_pairs
from attn_research.data.text.tokenizers import EOS, PAD
from attn_research.layers.contracts import EncoderDecoder
from attn_research.types import PyTree
from attn_research.viewing import plots
from attn_research.viewing.attention_maps import Panel, attention_figure
from experiments.harness.config import Config, file_name
from experiments.tasks.translation import predictions, pronouns
from experiments.tasks.translation.batches import eval_batches
from experiments.tasks.translation.data import Data
from experiments.tasks.translation.inference import Members, predict_pairs


def keep_alignments(
    config: Config, data: Data, members: Members, folder: Path, *, count: int = 4
) -> None:
    """Writes the alignments of the model's own translations of a few sentences."""
    pairs = next(iter(data.tests.values()))
    # As in Bahdanau et al.'s Figure 3, of 10 to 20 words; the first of them, none picked by hand.
    fitting = [pair for pair in pairs if 10 <= len(pair.source.split()) <= 20][:count]
    panels = []
    if fitting:
        encoded = encode_pairs(fitting, *data.tokenizers)
        ((indices, batch),) = eval_batches(config.task.batching, encoded, batch_size=count)
        found = members.translate(batch["source"])
        weights = members.align(batch["source"], found)
        for i in np.argsort(indices):
            ids = [row[row != PAD] for row in (batch["source"][i], found[i])]
            words = [
                [tokenizer.decode([x]) for x in row if x != EOS]
                for tokenizer, row in zip(data.tokenizers, ids, strict=True)
            ]
            shown = weights[i, : len(ids[1]), : len(ids[0])]
            panels.append({"words": words, "weights": shown.round(4).tolist()})
    write_whole(folder / "alignments.json", json.dumps(panels, ensure_ascii=False).encode())


def keep_heads(
    config: Config, data: Data, network: EncoderDecoder, params: PyTree, folder: Path
) -> None:
    """Writes where every head of a network attends, for networks that attend by heads."""
    if network.alignment is None or not network.alignment.by_heads:
        return
    attend = functools.partial(
        jax.jit(functools.partial(predict_pairs, network, log_probs=False)), params
    )
    predictions.keep_heads(config, data, lambda *batch: attend(*batch).cross, folder)
    _keep_pair(config, data, attend, folder)


def _keep_pair(config: Config, data: Data, attend, folder: Path) -> None:
    """Every head over one pair, given its target.

    It is the shortest with a pronoun of two nouns, else the first of 8 to 16 words a side.
    """
    name, pairs = next(iter(data.tests.items()))
    if pronouns.has_pronouns(config.task.text):
        pair = pronouns.shortest_with_one(config.task.text, data, name)
    else:
        fitting = (p for p in pairs if all(8 <= len(side.split()) <= 16 for side in p[:2]))
        pair = next(fitting, pairs[0])
    encoded = encode_pairs([pair], *data.tokenizers)
    ((_, batch),) = eval_batches(config.task.batching, encoded, batch_size=1)
    found = attend(batch["source"], batch["target"])
    words = [
        [tokenizer.decode([x]) for x in ids]
        for tokenizer, ids in zip(data.tokenizers, encoded[0], strict=True)
    ]
    rows, columns = (len(side) + 1 for side in (words[1], words[0]))
    maps = {
        "words": words,
        "encoder": np.asarray(found.encoder)[0, :, :, :columns, :columns].round(3).tolist(),
        "cross": np.asarray(found.cross)[0, :, :, :rows, :columns].round(3).tolist(),
        "decoder": np.asarray(found.decoder)[0, :, :, :rows, :rows].round(3).tolist(),
    }
    write_whole(folder / "maps.json", json.dumps(maps, ensure_ascii=False).encode())


def look_at_pair(
    network: EncoderDecoder, params: PyTree, source: np.ndarray, target: np.ndarray
) -> dict[str, np.ndarray]:
    """The weights [L, N, T, S] of a pair of rows of ids, by the names of `pair_views`."""
    attend = jax.jit(functools.partial(predict_pairs, network, log_probs=False))
    found = attend(params, source[None], target[None])
    cross = "alignment" if found.encoder is None else "cross"
    named = {"encoder": found.encoder, cross: found.cross, "decoder": found.decoder}
    return {name: np.asarray(each[0]) for name, each in named.items() if each is not None}


def draw_alignments(folder: Path, results: dict[str, list[dict]], figure: str) -> None:
    """`FIGURE-ROW.png` for each row of which alignments were kept."""
    for row, runs in results.items():
        path = folder / runs[0]["name"] / "alignments.json"
        if path.exists():
            panels = [
                Panel(np.array(panel["weights"]), *panel["words"])
                for panel in json.loads(path.read_bytes())
            ]
            if not panels:  # a test set without a sentence of that length
                continue
            plots.save(attention_figure(panels), folder / f"{figure}-{file_name(row)}.png")
