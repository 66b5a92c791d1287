"""Training speed of the Vision Transformer here and in Hugging Face, on the same batches.

python -m experiments.benchmarks.vit_training --peer_python=PATH

ViT-S on images of 32 x 32: a sequence of 5 with patches of 16 (ViT-S/16), of 65 with patches of 4.
Both systems have a class token, learned positions, dropout 0.1 and AdamW. This code recomputes all
but matrix products in the backward pass (`remat=dots`), as its recipes for a CPU do. The peers need
`pip install -e .[peers]`, in this environment or in that of `--peer_python`. See
`experiments.benchmarks.comparison` for the method.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import app, flags

from experiments.benchmarks import comparison

SIDE, CLASSES = 32, 10


COMPARISON = comparison.Comparison(
    "experiments.benchmarks.vit_training",
    comparison.our_step("vit2020", weight_decay=0.05, remat="dots"),
    {
        "huggingface": ("vit_huggingface", {}),
        "huggingface-tuned": ("vit_huggingface", {"tuned": True}),
    },
)


def write_task(folder: Path, patch: int, rows: int, count: int) -> dict:
    """Batches of random images, and the sizes."""
    from attn_research.models.vit import SIZES

    sizes = zip(("num_layers", "model_dim", "mlp_dim", "num_heads"), SIZES["S"], strict=True)
    config = dict(sizes, patch=patch, image_size=SIDE, channels=3, num_classes=CLASSES)
    config |= {"dropout": 0.1, "label_smoothing": 0.1, "batch_size": rows}
    rng = np.random.default_rng(0)
    batches = (
        {
            "image": rng.integers(0, 256, (rows, SIDE, SIDE, 3), np.uint8),
            "label": rng.integers(0, CLASSES, rows, np.int32),
        }
        for _ in range(count)
    )
    return {**comparison.write_batches(folder, config, batches), "images": rows * count}


def tasks() -> Iterator[comparison.Task]:
    """One task for each patch size."""
    values = flags.FLAGS
    for patch in map(int, values.patches):
        work = {"patch": patch, "rows": values.batch_size, "count": values.num_batches}
        yield comparison.Task({"model": f"S/{patch}"}, functools.partial(write_task, **work))


if __name__ == "__main__":
    flags.DEFINE_list("patches", "16,4", "Patch sizes in pixels, with commas.")
    flags.DEFINE_integer("batch_size", 64, "Images of a batch.", lower_bound=1)
    flags.DEFINE_integer("num_batches", 4, "Batches of a round.", lower_bound=1)
    comparison.define_flags(COMPARISON, peers="huggingface,huggingface-tuned", rounds=7)
    flags.adopt_module_key_flags(comparison)
    app.run(functools.partial(comparison.main, COMPARISON, tasks))
