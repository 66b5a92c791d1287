"""Checks that the original library loads what `to_checkpoint` writes, with equal outputs.

python -m tests.golden.check_published        needs torch, transformers and safetensors

Networks are those of the golden files, with other parameters. Prints the worst difference of each.
"""

import json
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

from attn_research.pretrained import Pretrained, to_checkpoint
from attn_research.pretrained.running import run_network
from tests.pretrained.golden import NAMES, load, pretrained


def main() -> None:
    for number, name in enumerate(NAMES):
        network, params = pretrained(name)
        rng = np.random.default_rng(number)
        params = jax.tree.map(
            lambda x, rng=rng: jnp.asarray(x + 0.2 * rng.normal(size=x.shape), jnp.float32), params
        )
        inputs = load(name).inputs
        expected = run_network(Pretrained(network, params), inputs)
        checkpoint = to_checkpoint(network, params)
        found = run_original(checkpoint, inputs)
        real = inputs["attention_mask"].astype(bool)
        worst = 0.0
        logits = {k: x for k, x in expected.items() if k.endswith("logits") and k in found}
        assert logits
        for kind, ours in logits.items():
            places = real if ours.ndim == 3 else slice(None)
            worst = max(worst, np.abs(ours - found[kind].numpy())[places].max())
        architecture = checkpoint.config["architectures"][0]
        print(f"{name:20} {architecture:32} {', '.join(logits):45} {worst:.1e}")
        assert worst < 1e-4


def run_original(checkpoint, inputs):
    """The outputs of the original library for a checkpoint that it reads from files."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        (path / "config.json").write_text(json.dumps(checkpoint.config))
        save_file(checkpoint.tensors, path / "model.safetensors", {"format": "pt"})
        kind = getattr(transformers, checkpoint.config["architectures"][0])
        model, info = kind.from_pretrained(path, output_loading_info=True)
    for what, names in info.items():
        assert not names, f"{what}: {names}"
    with torch.no_grad():
        return model.eval()(**{name: torch.tensor(array) for name, array in inputs.items()})


if __name__ == "__main__":
    main()
