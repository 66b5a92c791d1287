"""Small copies of data sets, as tests read them."""

import io

import numpy as np
from PIL import Image


def write_jpegs(folder, rng):
    """CIFAR-10 as JPEG, of 60 images to train and 20 to test, classes mixed."""
    folder.mkdir(parents=True)
    for split, count in (("train", 60), ("test", 20)):
        parts = []
        for _ in range(count):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(file, "JPEG")
            parts.append(file.getvalue())
        ends = np.cumsum([0, *map(len, parts)])
        np.savez(
            folder / f"{split}_jpeg.npz",
            jpeg=np.frombuffer(b"".join(parts), np.uint8),
            offsets=ends,
            labels=np.arange(count, dtype=np.uint8) % 10,
        )
