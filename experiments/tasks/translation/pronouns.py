"""Whom a pronoun means: what a model of the built-in corpus writes, and where it looks for it.

"The animal did not cross the street because it was too tired" (Vaswani et al. 2017, Figures 3-5,
show such heads). The corpus knows for every such pronoun the noun it stands for and another noun
of the other gender, so that il and elle, ils and elles tell what a model takes it for. Kept as
`SET.pronouns.json`, from which `score` makes every number.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from attn_research.data.corpus import Pair
from attn_research.data.encoding import encode_pairs
from attn_research.data.files import write_whole
from attn_research.data.grammar import Grammar
from experiments.pair_batches import eval_batches
from experiments.translation import Task, TranslationConfig, corpora

# Which look: from source to source, translation to source, translation to translation.
SIDES = "encoder", "cross", "decoder"
# What stands in the translation of the other noun's pronoun.
OTHER = {"il": "elle", "elle": "il", "ils": "elles", "elles": "ils", "s'": "si", "si": "s'"}


class Look(NamedTuple):
    """What a model says of a batch of pairs: log probabilities of the next word, and its weights.

    Weights are None where there are none, else have axes for layers and heads; those of the decoder
    are over its steps so far, the first of which reads BOS.
    """

    log_probs: np.ndarray  # [B, T, V]
    encoder: np.ndarray | None  # [B, L, N, S, S]
    cross: np.ndarray | None  # [B, L, N, T, S]
    decoder: np.ndarray | None = None  # [B, L, N, T, T]


def has_pronouns(config: TranslationConfig) -> bool:
    """Whether the pronouns of a corpus are known, and a word is an id."""
    return config.data == "grammar" and config.tokenizer == "words"


def shortest_with_one(task: Task, config: TranslationConfig, name: str) -> Pair:
    """The pair of a test set with the fewest source words among those with such a pronoun."""
    (corpus,) = corpora(config)
    assert isinstance(corpus, Grammar)
    pairs = task.tests[name]
    having = [pair for i, pair in enumerate(pairs) if corpus.pronouns(name, i)]
    return min(having or pairs, key=lambda pair: len(pair.source.split()))


def predict(task: Task, config: TranslationConfig, look: Callable[..., Look], folder: Path) -> None:
    """Writes for every pronoun of the test sets what `look(source, target)` says of it."""
    (corpus,) = corpora(config)
    assert isinstance(corpus, Grammar)
    for name, pairs in task.tests.items():
        encoded = encode_pairs(pairs, *task.tokenizers)
        found = {}
        for members, batch in eval_batches(config, encoded):
            seen = Look(*look(batch["source"], batch["target"]))
            for row, i in enumerate(members.tolist()):
                for pronoun in corpus.pronouns(name, i):
                    found.setdefault(i, []).append(_ask(task, pairs[i], pronoun, row, seen))
        every = [{"pair": i, **one} for i in sorted(found) for one in found[i]]
        write_whole(folder / f"{name}.pronouns.json", json.dumps(every).encode())


def _ask(task: Task, pair, pronoun, row: int, seen: Look) -> dict[str, Any]:
    """One pronoun: log probabilities where right and wrong first differ, and where heads look."""
    (place,) = (j for i, j in pair.sure if i == pronoun.pronoun)
    words = pair.target.split()
    # "Même si" elides before il and ils alone: the choice falls there, and is then given away.
    if words[place - 1] in OTHER:
        place -= 1
    choice = words[place], OTHER[words[place]]
    ids = [task.tokenizers[1].encode(word)[0] for word in choice]
    nouns = [pronoun.antecedent, pronoun.distractor]
    about = {
        "words": len(pair.source.split()),
        "log_probs": [round(float(seen.log_probs[row, place, i]), 4) for i in ids],
    }
    # From the pronoun to both nouns, by layer and head: in the source, then as it is translated to
    # the nouns in the source and to those in the translation.
    if seen.encoder is not None:
        about["encoder"] = _rounded(seen.encoder[row, :, :, pronoun.pronoun][..., nouns])
    if seen.cross is not None:
        about["cross"] = _rounded(seen.cross[row, :, :, place][..., nouns])
    if seen.decoder is not None:
        # Word j is written by step j and read in by step j + 1: either may be what is looked at.
        steps = [
            sorted({step for i, j in pair.sure if i == noun for step in (j, j + 1)})
            for noun in nouns
        ]
        weights = seen.decoder[row, :, :, place]
        about["decoder"] = _rounded(
            np.stack([weights[..., some].sum(axis=-1) for some in steps], axis=-1)
        )
        about["decoder_chance"] = round(len(steps[0]) / (place + 1), 4)
    return about


def score(path: Path) -> dict[str, Any]:
    """Accuracy of the pronouns, and the mean weight on the right noun and on the other one.

    `chance` is the mean weight of a look spread evenly over a sentence and its end symbol; that of
    the decoder, on the steps of a noun when spread over all steps so far.
    """
    cases = json.loads(path.read_text())
    if not cases:
        return {"count": 0}
    right = [one["log_probs"][0] > one["log_probs"][1] for one in cases]
    found: dict[str, Any] = {
        "count": len(cases),
        "accuracy": round(float(np.mean(right)), 4),
        "chance": round(float(np.mean([1 / (one["words"] + 1) for one in cases])), 4),
    }
    for where in SIDES:
        if where in cases[0]:
            weights = np.mean([one[where] for one in cases], axis=0)  # [L, N, 2]
            found[where] = {
                "antecedent": _rounded(weights[..., 0]),
                "distractor": _rounded(weights[..., 1]),
            }
    if "decoder" in found:
        mean = np.mean([one["decoder_chance"] for one in cases])
        found["decoder"]["chance"] = round(float(mean), 4)
    return found


def _rounded(weights: np.ndarray) -> list:
    return np.round(np.asarray(weights, np.float64), 4).tolist()
