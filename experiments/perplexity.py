"""Perplexity of a published decoder on a text, and what int8 weights cost it.

python -m experiments.perplexity --checkpoint=FOLDER --num_windows=12
python -m experiments.perplexity --checkpoint=FOLDER --num_windows=12 --weights=int8
python -m experiments.perplexity --checkpoint=FOLDER --text_file=FILE --stride=512

The text is cut into windows of --context tokens. Without --stride they do not overlap, and the
first token of each is not predicted, nor what is left after the last one. With it each window after
the first predicts its last --stride tokens, so that at least --context - --stride stand before
each. With --weights=int8 the matrices are rounded as decoding in int8 rounds them, and compared
with those of the checkpoint.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from tqdm import tqdm

from attn_research.data.files import user_path
from attn_research.data.text.long_texts import TESTS, read_text
from attn_research.data.text.rows import Pieces, Stream, collate, strided
from attn_research.evaluation.likelihood import perplexity
from attn_research.layers.row_products import round_to_int8
from experiments.harness.flags import one_line_errors, parse_flags
from experiments.harness.path_flags import define_path
from experiments.published.measuring import define_measuring, load_able, report
from experiments.published.model import Published


def windows(num_tokens: int, context: int, stride: int | None) -> Pieces:
    """The windows of a text, as pieces of targets, each of which is predicted once.

    Without a stride the first token of a window is none, and what is left after the last whole
    window neither. ValueError where the text is shorter than one window, or the stride is longer.
    """
    if num_tokens < context:
        raise ValueError(f"a text of {num_tokens} tokens is shorter than a window of {context}")
    if stride is not None:
        return strided(np.array([[1, num_tokens]]), context - 1, stride)
    begins = np.arange(0, num_tokens - context + 1, context)
    return np.stack([begins + 1, begins + 1, begins + context], axis=1)


class Sums(NamedTuple):
    """Sums over the predicted tokens of a window, for each set of parameters."""

    log_probs: Any
    tokens: Any
    logit_error: Any  # the mean difference of logits from those of the first parameters, summed
    largest_error: Any
    same_choice: Any  # tokens whose most probable token is that of the first parameters


def make_score(network: Any) -> Any:
    """The sums of a batch of one window, for parameters and those that they are compared with."""

    @jax.jit
    def score(params, others, batch):
        targets = batch["targets"]
        valid = targets >= 0
        logits = [network.apply(each, batch["ids"]).logits for each in (params, *others)]
        found = []
        for each in logits:
            wide = jax.nn.log_softmax(each.astype(jnp.float32), axis=-1)
            chosen = jnp.take_along_axis(wide, jnp.maximum(targets, 0)[..., None], axis=-1)[..., 0]
            error = jnp.abs(each - logits[0])
            same = each.argmax(-1) == logits[0].argmax(-1)
            found.append(
                Sums(
                    jnp.sum(chosen, where=valid),
                    jnp.sum(valid),
                    jnp.sum(error.mean(-1), where=valid),
                    jnp.max(error.max(-1), where=valid, initial=0.0),
                    jnp.sum(same, where=valid),
                )
            )
        return found

    return score


def measure(
    model: Published, ids: np.ndarray, pieces: Pieces, context: int, *, int8: bool
) -> Iterator[dict[str, Any]]:
    """The numbers of the checkpoint's weights, and of those in int8, over all windows."""
    stream, score = Stream(ids, 0), make_score(model.network)
    params = jax.tree.map(jnp.asarray, model.params)
    others = [round_to_int8(model.params)] if int8 else []
    found = []
    for piece in tqdm(pieces, "windows", mininterval=10, disable=None):
        batch, _ = collate(stream, [piece[None]], context - 1, segments=False)
        sums = score(params, others, jax.tree.map(jnp.asarray, batch))
        found.append(jax.tree.map(lambda x: np.asarray(x, np.float64), sums))
    for number, name in enumerate(["float32", *(["int8"] if int8 else [])]):
        columns = list(zip(*(each[number] for each in found), strict=True))
        log_prob, tokens, error, same = (math.fsum(columns[i]) for i in (0, 1, 2, 4))
        row = {"weights": name, "tokens": int(tokens), "perplexity": perplexity(log_prob, tokens)}
        if number:
            row |= {
                "mean_logit_difference": error / tokens,
                "largest_logit_difference": float(max(columns[3])),
                "same_most_probable": same / tokens,
            }
        yield row


def main(argv: Sequence[str]) -> None:
    with one_line_errors(argv):
        report("experiments.perplexity", _measure())


def _measure() -> list[dict[str, Any]]:
    """The numbers that the flags ask for."""
    values = flags.FLAGS
    if values.stride is not None and values.stride > values.context - 1:
        raise ValueError(f"--stride={values.stride} is more than a window predicts")
    text = _text()
    model = load_able("continue")
    if model.longest is not None and values.context > model.longest:
        raise ValueError(f"--context={values.context}: the model has {model.longest} positions")
    ids = np.array(model.tokenizer.encode(text)[0], np.int32)
    pieces = windows(len(ids), values.context, values.stride)[: values.num_windows or None]
    return list(measure(model, ids, pieces, values.context, int8=values.weights == "int8"))


def _text() -> str:
    values = flags.FLAGS
    if values.text_file:
        if given := [name for name in ("data", "data_dir") if values[name].present]:
            raise ValueError(f"--{given[0]} has no effect with --text_file: remove one of them")
        return read_text(user_path(values.text_file))
    return TESTS[values.data](values.data_dir or None)


if __name__ == "__main__":
    define_measuring()
    flags.DEFINE_enum("data", "wikitext2", list(TESTS), "Test text.")
    define_path("text_file", "", "Text file instead of --data.")
    flags.DEFINE_integer("context", 1024, "Tokens of a window.", lower_bound=2)
    flags.DEFINE_integer("stride", None, "Tokens that later windows predict.", lower_bound=1)
    flags.DEFINE_integer("num_windows", 0, "Windows from the beginning; 0: all.", lower_bound=0)
    flags.DEFINE_enum("weights", "float32", ["float32", "int8"], "int8 is measured beside float32.")
    app.run(main, flags_parser=parse_flags)
