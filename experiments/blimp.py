"""Minimal pairs by a published model: how often it finds the acceptable sentence likelier.

python -m experiments.blimp --checkpoint=FOLDER --data_dir=DIR
python -m experiments.blimp --checkpoint=FOLDER --data_dir=DIR --pairs=0      all 67,000

BLiMP has 1,000 pairs in each of 67 paradigms; --pairs are drawn of each by --seed. A pair is right
where the log-probability of the whole acceptable sentence is the higher one (Warstadt et al. 2020,
section 4). --begin is the token before a sentence, of which the first token is predicted. A model
that fills masks gives each token's probability with a mask in its place and all others to see, and
the sum of their logarithms stands for the sentence's (Salazar et al. 2020, equation 1).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from tqdm import tqdm

from attn_research.data.text.minimal_pairs import MinimalPair, draw_pairs, read_blimp
from attn_research.types import Bool, Float
from experiments.harness.flags import one_line_errors, parse_flags
from experiments.published.measuring import define_measuring, load_able, report, rows_of
from experiments.published.model import Published


def log_probs(
    model: Published, texts: Sequence[str], begin: str = "", batch_size: int = 32
) -> Float[np.ndarray, "texts"]:
    """The log-probability of each text, after the token `begin` if there is one.

    Without it the first token of a text is given. ValueError where the tokenizer has no such token,
    or the model cannot read a text.
    """
    first = model.tokenizer.tokenizer.token_to_id(begin) if begin else None
    if begin and first is None:
        raise ValueError(f"--begin={begin}: the tokenizer has no such token")
    before = [] if first is None else [first]
    encoded = [[*before, *model.encode(text)[0]] for text in texts]

    @jax.jit
    def score(params, ids, valid):
        logits = model.network.apply(params, ids, valid).logits[:, :-1]
        wide = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
        chosen = jnp.take_along_axis(wide, ids[:, 1:, None], axis=-1)[..., 0]
        return jnp.sum(chosen, axis=-1, where=valid[:, 1:])

    found = np.zeros(len(texts))
    batches = list(rows_of(encoded, batch_size))
    for rows in tqdm(batches, "texts", mininterval=10, disable=None):
        found[rows.indices] = score(model.on_device, rows.ids, rows.valid)[: len(rows.indices)]
    return found


def pseudo_log_probs(
    model: Published, texts: Sequence[str], batch_size: int = 32
) -> Float[np.ndarray, "texts"]:
    """The sum over the tokens of each text of their log-probability, given all others.

    Of tokens that the tokenizer puts around every text there is none. ValueError where the
    tokenizer has no mask, or the model cannot read a text.
    """
    mask = model.tokenizer.mask
    if mask is None:
        raise ValueError("the tokenizer has no mask to put in the place of a token")
    around = model.tokenizer.around
    owners, masked, places, gold = [], [], [], []
    for number, text in enumerate(texts):
        ids = model.encode(text)[0]
        for place in np.flatnonzero(~np.isin(ids, around)):
            owners.append(number)
            masked.append([*ids[:place], mask, *ids[place + 1 :]])
            places.append(place)
            gold.append(ids[place])

    @jax.jit
    def score(params, ids, valid, places, gold):
        states = model.network.apply(params, ids, valid).states
        chosen = jnp.take_along_axis(states, places[:, None, None], axis=1)[:, 0]
        logits = model.network.apply(params, chosen, method="word_logits")
        wide = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
        return jnp.take_along_axis(wide, gold[:, None], axis=-1)[:, 0]

    found, places, gold = np.zeros(len(texts)), np.array(places), np.array(gold)
    batches = list(rows_of(masked, batch_size))
    for rows in tqdm(batches, "tokens", mininterval=10, disable=None):
        chosen = np.resize(rows.indices, len(rows.ids))  # empty rows are scored for nothing
        values = np.asarray(
            score(model.on_device, rows.ids, rows.valid, places[chosen], gold[chosen])
        )
        np.add.at(found, np.array(owners)[rows.indices], values[: len(rows.indices)])
    return found


def judge(
    model: Published, pairs: Sequence[MinimalPair], begin: str, batch_size: int
) -> Bool[np.ndarray, "pairs"]:
    """Which pairs are right."""
    texts = [pair.good for pair in pairs] + [pair.bad for pair in pairs]
    if "continue" in model.abilities:
        found = log_probs(model, texts, begin, batch_size)
    elif begin:
        raise ValueError("--begin is of decoders: this model fills masks; remove it")
    else:
        found = pseudo_log_probs(model, texts, batch_size)
    good, bad = np.split(found, 2)
    return good > bad


def table(pairs: Sequence[MinimalPair], right: Bool[np.ndarray, "pairs"]) -> list[dict[str, Any]]:
    """The percentage of right pairs by paradigm, by field and of all."""
    found = []
    for kind in ("paradigm", "field"):
        names = [getattr(pair, kind) for pair in pairs]
        for name in dict.fromkeys(names):
            chosen = right[[each == name for each in names]]
            found.append({kind: name, "pairs": len(chosen), "right": 100 * float(chosen.mean())})
    return [*found, {"all": "BLiMP", "pairs": len(right), "right": 100 * float(right.mean())}]


def main(argv: Sequence[str]) -> None:
    values = flags.FLAGS
    with one_line_errors(argv):
        given = [name for name in ("repeats", "seed") if values[name].present]
        if given and not values.pairs:
            raise ValueError(f"--{given[0]} has no effect with --pairs=0, all pairs: remove it")
        paradigms = read_blimp(values.data_dir or None)
        pairs = draw_pairs(paradigms, values.pairs or None, values.seed, values.repeats)
        model = load_able("continue", "fill-mask")
        right = judge(model, pairs, values.begin, values.batch_size)
        report("experiments.blimp", table(pairs, right))


if __name__ == "__main__":
    define_measuring()
    flags.DEFINE_integer("pairs", 20, "Pairs of each paradigm; 0: all.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Seed of what is drawn.", lower_bound=0)
    flags.DEFINE_bool("repeats", False, "A pair may be drawn twice.")
    flags.DEFINE_string("begin", "", "Token before each sentence, such as <|endoftext|>.")
    flags.DEFINE_integer("batch_size", 32, "Sentences that are read at once.", lower_bound=1)
    app.run(main, flags_parser=parse_flags)
