"""Real pictures, questions and sounds: each is read, and a step is traced for its batches."""

import jax
import numpy as np
import pytest

from attn_research.data.batching import all_rows
from experiments.flamingo2022.paper import PAPER as FLAMINGO
from experiments.harness.paper import resolve
from experiments.harness.program import make_program
from experiments.whisper2022.classification.paper import PAPER as WORDS
from experiments.whisper2022.paper import PAPER as WHISPER
from experiments.xu2015.paper import PAPER as CAPTIONS


@pytest.mark.parametrize(
    ("paper", "row", "data"),
    [
        (CAPTIONS, "soft", "flickr8k"),
        (FLAMINGO, "last-features", "easy_vqa"),
        (FLAMINGO, "all-numbered", "nlvr"),
        (WORDS, "additive", "fsdd"),
        (WHISPER, "transcribe", "fsdd_strings"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_batch_of_real_data_fits_its_step(paper, row, data, data_dir):
    config = resolve(paper, row, {"scale": "tiny", "data": data, "data_dir": str(data_dir)})
    task = paper.task(config).load()
    program = make_program(paper, config, task)
    batch = next(iter(task.train_batches(0, all_rows)))
    spec = task.batch_spec()
    assert jax.tree.map(lambda x: np.asarray(x).dtype, batch) == jax.tree.map(
        lambda x: x.dtype, spec
    )
    state = program.state_shapes()
    assert jax.eval_shape(program.compile(jax.random.key(0)), state, batch)
    for split in ("dev", "test"):
        assert next(iter(task.eval_batches(split))) is not None
