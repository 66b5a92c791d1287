"""Writes vit.npz: a small Vision Transformer of Hugging Face's with random weights, and its logits.

python tests/golden/make_vit.py        needs torch and transformers; the tests need neither

Names are those of `attn_research.models.vit.ViT`, slashes between them; blocks are stacked.
"""

import pathlib

import numpy as np
import torch
from transformers import ViTConfig, ViTForImageClassification

LAYERS, WIDTH, HEADS, MLP, PATCH, CLASSES = 2, 12, 3, 20, 4, 5
HEIGHT, WIDTH_PIXELS = 8, 12


def main() -> None:
    torch.manual_seed(0)
    model = ViTForImageClassification(
        ViTConfig(
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=MLP,
            hidden_act="gelu_pytorch_tanh",  # what the paper's own code calls gelu
            layer_norm_eps=1e-6,
            image_size=(HEIGHT, WIDTH_PIXELS),
            patch_size=PATCH,
            num_labels=CLASSES,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
        for name, parameter in model.named_parameters():
            if "layernorm" in name and name.endswith("weight"):
                parameter.add_(1.0)
        images = torch.randn(3, 3, HEIGHT, WIDTH_PIXELS)
        logits = model(pixel_values=images).logits
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    arrays = {"images": images.permute(0, 2, 3, 1).numpy(), "logits": logits.numpy()}
    np.savez_compressed(
        pathlib.Path(__file__).with_name("vit.npz"), **arrays, **dict(rename(state))
    )


def rename(state):
    """(our name, array) of every parameter."""
    # Convolution weights [D, C, p, p] become rows in the order of a patch's pixels.
    kernel = state["vit.embeddings.patch_embeddings.projection.weight"]
    yield "embed/kernel", kernel.transpose(2, 3, 1, 0).reshape(-1, WIDTH)
    yield "embed/bias", state["vit.embeddings.patch_embeddings.projection.bias"]
    yield "token", state["vit.embeddings.cls_token"].reshape(-1)
    yield "positions", state["vit.embeddings.position_embeddings"][0]
    block = {
        "around_attention/norm": "layernorm_before",
        "around_mlp/norm": "layernorm_after",
        "attention/query": ("attention.attention.query", "attention.q_proj"),
        "attention/key": ("attention.attention.key", "attention.k_proj"),
        "attention/value": ("attention.attention.value", "attention.v_proj"),
        "attention/output": ("attention.output.dense", "attention.o_proj"),
        "mlp/input": ("intermediate.dense", "mlp.fc1"),
        "mlp/output": ("output.dense", "mlp.fc2"),
    }
    prefix = "vit.encoder.layer" if any("encoder.layer." in n for n in state) else "vit.layers"
    for ours, candidates in block.items():
        names = (candidates,) if isinstance(candidates, str) else candidates
        theirs = next(n for n in names if f"{prefix}.0.{n}.weight" in state)
        for kind in ("weight", "bias"):
            layers = [state[f"{prefix}.{layer}.{theirs}.{kind}"] for layer in range(LAYERS)]
            if kind == "bias":
                yield f"blocks/{ours}/bias", np.stack(layers)
            elif "norm" in ours:
                yield f"blocks/{ours}/scale", np.stack(layers)
            else:
                yield f"blocks/{ours}/kernel", np.stack([layer.T for layer in layers])
    yield "norm/scale", state["vit.layernorm.weight"]
    yield "norm/bias", state["vit.layernorm.bias"]
    yield "head/kernel", state["classifier.weight"].T
    yield "head/bias", state["classifier.bias"]


if __name__ == "__main__":
    main()
