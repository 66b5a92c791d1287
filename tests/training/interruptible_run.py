"""A training run that test_resume.py kills: a few words to a few words, with dropout.

python interruptible_run.py FOLDER WHEN, where WHEN is never, in-step (right after step 7 was
measured) or in-save (while the checkpoint of step 8 is being renamed).
"""

import json
import os
import pathlib
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.data.batching import Batches, SortedWindows, bucket_bounds
from attn_research.data.text.encoding import Encoded
from attn_research.training.checkpoints import Checkpoints, digest
from attn_research.training.loop import Hook, fit
from attn_research.training.metrics import MetricsLog
from attn_research.training.objectives import cross_entropy
from attn_research.training.optimizers import make_optimizer, make_schedule
from attn_research.training.step import Sums, make_state, make_train_step

NUM_STEPS, VOCAB, WIDTH = 12, 9, 6


def make_batches():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 8, (19, 2)).astype(np.uint16)
    pairs = Encoded(rng.integers(4, VOCAB, lengths.sum()).astype(np.int32), lengths)
    # Less than three epochs, so that the run stops and goes on in the middle of one.
    return Batches(
        pairs, SortedWindows(4, window=2), bounds=bucket_bounds(7, 3), seed=1, num_batches=NUM_STEPS
    )


def loss(params, batch, key):
    source, target = batch["source"], batch["target"]
    keep = jax.random.bernoulli(key, 0.7, (len(source), WIDTH))
    hidden = jnp.tanh(params["words"][source].mean(axis=1)) * keep
    logits = (hidden @ params["out"])[:, None] * jnp.ones((*target.shape, 1))
    total, weight = cross_entropy(logits, target, target != 0)
    return Sums(total, weight, {"target_tokens": weight})


def main(folder, when):
    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    rename = os.rename

    def rename_or_die(source, target, **options):
        if when == "in-save" and pathlib.Path(target).name == "8":
            kill()
        rename(source, target, **options)

    os.rename = rename_or_die
    optimizer = make_optimizer("adam", make_schedule("cosine", 0.1, NUM_STEPS, warmup=3), 1.0)
    keys = jax.random.split(jax.random.key(2), 2)
    params = {
        "words": jax.random.normal(keys[0], (VOCAB, WIDTH)),
        "out": jax.random.normal(keys[1], (WIDTH, VOCAB)),
    }
    state = make_state(params, optimizer)
    checkpoints = Checkpoints(folder / "checkpoints", {"width": WIDTH})
    found = checkpoints.restore(state)
    state = state if found is None else found[1]
    start = int(state.step)
    log = MetricsLog(folder, start=start, num_steps=NUM_STEPS, every=2, progress=False)

    class Writer:
        def write(self, step, metrics):
            log.write(step, metrics)
            if when == "in-step" and step == 7:
                kill()

    state = fit(
        make_train_step(loss, optimizer, jax.random.key(3)),
        state,
        make_batches().iterate(start),
        num_steps=NUM_STEPS,
        writer=Writer(),
        hooks=[Hook(4, checkpoints.save)],
    )
    log.close()
    checkpoints.close()
    (folder / "end.json").write_text(json.dumps({"start": start, "digest": digest(state)}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
