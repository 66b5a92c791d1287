"""Similarity of two sentences by a published encoder, beside the scores that people gave.

python -m experiments.similarity --checkpoint=FOLDER --data_dir=DIR
python -m experiments.similarity --checkpoint=FOLDER --file=FILE

A sentence is the mean of the states of its tokens, and two are as similar as the cosine of their
means (Reimers, Gurevych 2019, section 3). What counts is the correlation with people's scores: of
STS-B's test pairs (Cer et al. 2017), or of a file's, a score and two sentences a line, with tabs.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from tqdm import tqdm

from attn_research.data.text.classification import SPLITS, PublicCorpus
from attn_research.data.text.labelled import Example, LabelledFiles
from attn_research.evaluation.classification import pearson_correlation, spearman_correlation
from attn_research.types import Float
from experiments.harness.flags import one_line_errors, parse_flags
from experiments.harness.path_flags import define_path
from experiments.published.measuring import define_measuring, load_able, report, rows_of
from experiments.published.model import Published


def embed(
    model: Published, texts: Sequence[str], batch_size: int = 32
) -> Float[np.ndarray, "texts D"]:
    """The mean states of texts, of length 1; ValueError for one that the model cannot read."""
    encoded = [model.encode(text)[0] for text in texts]
    params, run = jax.tree.map(jnp.asarray, model.params), jax.jit(model.network.apply)
    found = np.zeros((len(texts), model.network.model_dim))
    batches = list(rows_of(encoded, batch_size))
    for rows in tqdm(batches, "texts", mininterval=10, disable=None):
        states = np.asarray(run(params, rows.ids, rows.valid).states, np.float64)
        means = states.sum(axis=1, where=rows.valid[..., None])[: len(rows.indices)]
        found[rows.indices] = means / np.linalg.norm(means, axis=-1, keepdims=True)
    return found


def correlate(model: Published, examples: Sequence[Example], batch_size: int) -> dict[str, Any]:
    """The correlations of cosines with the scores of pairs, times 100."""
    embed_all = functools.partial(embed, model, batch_size=batch_size)
    first, second = (embed_all([each.texts[side] for each in examples]) for side in (0, 1))
    cosines = np.sum(first * second, axis=-1)
    scores = np.array([float(each.label) for each in examples])
    return {
        "pairs": len(examples),
        "spearman": 100 * spearman_correlation(cosines, scores),
        "pearson": 100 * pearson_correlation(cosines, scores),
    }


def main(argv: Sequence[str]) -> None:
    values = flags.FLAGS
    with one_line_errors(argv):
        if values.file and values["split"].present:
            raise ValueError("--file and --split: a file has no splits, give one of them")
        if values.file:
            examples = LabelledFiles({"test": values.file}, "numbers", 2).split("test")
        else:
            examples = PublicCorpus("stsb", values.data_dir or None).split(values.split)
        row = correlate(load_able("embed"), examples, values.batch_size)
        report("experiments.similarity", [row])


if __name__ == "__main__":
    define_measuring()
    define_path("file", "", "File of scores and pairs instead of STS-B.")
    flags.DEFINE_enum("split", "test", SPLITS, "Split of STS-B.")
    flags.DEFINE_integer("batch_size", 32, "Sentences that are read at once.", lower_bound=1)
    app.run(main, flags_parser=parse_flags)
