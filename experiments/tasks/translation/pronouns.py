"""The pronoun probe: accuracy of il/elle, and attention from the pronoun to its antecedent.

"The animal did not cross the street because it was too tired" (Vaswani et al. 2017, Figures 3-5,
show such heads). The corpus gives for every such pronoun its antecedent and another noun of the
other gender, so the choice of il or elle, ils or elles shows which noun a model has resolved it to.
Predictions are kept as `SET.pronouns.json`, from which `score` computes every number.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from attn_research.data.files import write_whole
from attn_research.data.grammar.derivation import Pronoun
from attn_research.data.grammar.grammar import Grammar
from attn_research.data.text.corpus import Pair
from attn_research.layers.contracts import EncoderDecoder
from attn_research.types import PyTree
from experiments.harness.config import Config
from experiments.tasks.translation.batches import eval_batches
from experiments.tasks.translation.config import TextConfig
from experiments.tasks.translation.data import Data, corpora
from experiments.tasks.translation.inference import Predicted, predict_pairs

# Attention from source to source, translation to source, translation to translation.
SIDES = "encoder", "cross", "decoder"
# The word that the other noun's gender would give.
OTHER = {"il": "elle", "elle": "il", "ils": "elles", "elles": "ils", "s'": "si", "si": "s'"}


def has_pronouns(config: TextConfig) -> bool:
    """True if the corpus lists its pronouns and each word has one id."""
    return config.data == "grammar" and config.tokenizer == "words"


def shortest_with_one(config: TextConfig, data: Data, name: str) -> Pair:
    """The shortest pair of a test set, by source words, that has such a pronoun."""
    (corpus,) = corpora(config)
    assert isinstance(corpus, Grammar)
    pairs = data.tests[name]
    having = [pair for i, pair in enumerate(pairs) if corpus.pronouns(name, i)]
    return min(having or pairs, key=lambda pair: len(pair.source.split()))


def predict(
    config: Config, data: Data, network: EncoderDecoder, params: PyTree, folder: Path
) -> None:
    """Writes for every pronoun of the test sets what a network predicts of it."""
    found = jax.jit(functools.partial(predict_pairs, network))
    probe(config, data, functools.partial(found, params), folder)


def probe(
    config: Config, data: Data, predict_batch: Callable[..., Predicted], folder: Path
) -> None:
    """Writes for every pronoun what `predict_batch(source, target)` says of it."""
    (corpus,) = corpora(config.task.text)
    assert isinstance(corpus, Grammar)
    for name, pairs in data.tests.items():
        found = {}
        for indices, batch in eval_batches(config.task.batching, data.encoded_tests[name]):
            predicted = predict_batch(batch["source"], batch["target"])
            predicted = Predicted(*(x if x is None else np.asarray(x) for x in predicted))
            for row, i in enumerate(indices.tolist()):
                for pronoun in corpus.pronouns(name, i):
                    one = _measure(data, pairs[i], pronoun, row, predicted)
                    found.setdefault(i, []).append(one)
        every = [{"pair": i, **one} for i in sorted(found) for one in found[i]]
        write_whole(folder / f"{name}.pronouns.json", json.dumps(every).encode())


Places = dict[str, tuple[int, list[list[int]]]]


def places(pair: Pair, pronoun: Pronoun) -> Places:
    """The row of a pronoun, and the columns of its antecedent and of the other noun, by side."""
    (place,) = (j for i, j in pair.sure if i == pronoun.pronoun)
    # "Même si" elides before il and ils only: the choice is made there, and later words then reveal
    # it.
    if pair.target.split()[place - 1] in OTHER:
        place -= 1
    nouns = pronoun.antecedent, pronoun.distractor
    # Word j is written by step j and read in by step j + 1: either may be what is attended to.
    steps = [
        sorted({step for i, j in pair.sure if i == noun for step in (j, j + 1)}) for noun in nouns
    ]
    source = [[noun] for noun in nouns]
    return {
        "encoder": (pronoun.pronoun, source),
        "cross": (place, source),
        "decoder": (place, steps),
    }


def _measure(
    data: Data, pair: Pair, pronoun: Pronoun, row: int, predicted: Predicted
) -> dict[str, Any]:
    """One pronoun: log probabilities where right and wrong first differ, and heads' weights."""
    found = places(pair, pronoun)
    place, steps = found["decoder"]
    word = pair.target.split()[place]
    ids = [data.tokenizers[1].encode(each)[0] for each in (word, OTHER[word])]
    about = {
        "words": len(pair.source.split()),
        "log_probs": [round(float(predicted.log_probs[row, place, i]), 4) for i in ids],
    }
    # From the pronoun to both nouns, by layer and head: in the source, then as it is translated to
    # the nouns in the source and to those in the translation.
    for side in SIDES:
        weights = getattr(predicted, side)
        if weights is not None:
            at, nouns = found[side]
            sums = [weights[row, :, :, at][..., some].sum(axis=-1) for some in nouns]
            about[side] = _rounded(np.stack(sums, axis=-1))
    if predicted.decoder is not None:
        about["decoder_chance"] = round(len(steps[0]) / (place + 1), 4)
    return about


def score(path: Path) -> dict[str, Any]:
    """Accuracy of the pronouns, and the mean weight on the right noun and on the other one.

    `chance` is the mean weight where attention is uniform over a sentence and its end symbol; that
    of the decoder, on the steps of a noun where it is uniform over all steps so far.
    """
    cases = json.loads(path.read_bytes())
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
