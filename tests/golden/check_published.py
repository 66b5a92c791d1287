"""Checks that the original library loads what `save` writes, with equal outputs.

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

from attn_research.pretrained import Pretrained, save
from attn_research.pretrained.running import real_places, run_network
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
        architecture, found = run_original(network, params, inputs)
        worst = 0.0
        outputs = {
            k: x for k, x in expected.items() if k in found and ("logits" in k or "pool" in k)
        }
        assert outputs
        for kind, ours in outputs.items():
            real = real_places(inputs, kind)
            places = slice(None) if real is None or ours.ndim < 3 else real
            worst = max(worst, np.abs(ours - found[kind].numpy())[places].max())
        print(f"{name:20} {architecture:32} {', '.join(outputs):45} {worst:.1e}")
        assert worst < 1e-4


def run_original(network, params, inputs):
    """The original class, and its outputs, for a checkpoint that it reads from a folder."""
    with tempfile.TemporaryDirectory() as folder:
        save(folder, network, params)
        config = json.loads((pathlib.Path(folder) / "config.json").read_text())
        architecture = config["architectures"][0]
        kind = getattr(transformers, architecture)
        model, info = kind.from_pretrained(folder, output_loading_info=True)
    for what, names in info.items():
        assert not names, f"{what}: {names}"
    with torch.no_grad():
        tensors = {name: torch.tensor(array) for name, array in inputs.items()}
        return architecture, model.eval()(**tensors)


if __name__ == "__main__":
    main()
