"""Writes containers/: small files by the libraries whose formats they are, and their values.

python tests/golden/make_containers.py        needs torch, gguf and ctranslate2; the tests need none

values.npz has the tensors by FILE/NAME, bfloat16 as float32. Of the weights that CTranslate2
quantizes it has those before quantization.
"""

import pathlib

import ctranslate2  # noqa: F401  (which loads its own libraries before PyTorch's)
import numpy as np
import torch
from ctranslate2.specs import common_spec, model_spec
from gguf import GGMLQuantizationType, GGUFWriter, quants
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).parent / "containers"
QUANTIZED = ("Q4_0", "Q4_1", "Q8_0", "BF16")


def torch_state() -> dict[str, torch.Tensor]:
    """Views of one storage, tied and transposed ones, and a tensor of every dtype."""
    torch.manual_seed(0)
    base, tied = torch.randn(5, 6), torch.randn(2, 3)
    kinds = ("float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    return {
        "base": base,
        "transposed": base.t(),
        "part": base[1:4, 2:5],
        "every_third": base.flatten()[1::3],
        "tied": tied,
        "tied_too": tied,
        "parameter": torch.nn.Parameter(torch.randn(4)),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "expanded": torch.arange(7).expand(1, -1),
        **{kind: torch.tensor([0, 1, 77]).to(getattr(torch, kind)) for kind in kinds},
    }


def write_torch() -> dict[str, np.ndarray]:
    state = torch_state()
    torch.save(state, FOLDER / "torch.bin")
    torch.save(state, FOLDER / "torch_old.bin", _use_new_zipfile_serialization=False)
    return {f"torch/{name}": widened(tensor) for name, tensor in state.items()}


def write_safetensors() -> dict[str, np.ndarray]:
    names = ("base", "scalar", "empty", "float64", "bfloat16", "int64", "bool")
    state = {name: tensor for name, tensor in torch_state().items() if name in names}
    save_file(state, FOLDER / "model.safetensors", metadata={"format": "pt"})
    return {f"safetensors/{name}": widened(tensor) for name, tensor in state.items()}


def widened(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()


def write_gguf() -> dict[str, np.ndarray]:
    rng, values = np.random.default_rng(0), {}
    writer = GGUFWriter(FOLDER / "weights.gguf", "llama")
    writer.add_custom_alignment(64)
    writer.add_block_count(3)
    writer.add_layer_norm_rms_eps(0.25)
    writer.add_token_list(["a", "bé", "<s>"])
    writer.add_token_scores([1.5, -2.0, 0.0])
    writer.add_add_bos_token(True)
    for name in QUANTIZED:
        kind = GGMLQuantizationType[name]
        data = quants.quantize(rng.normal(size=(3, 64)).astype(np.float32), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        values[name] = quants.dequantize(data, kind)
    for name, dtype in (("F32", np.float32), ("F16", np.float16), ("I32", np.int32)):
        values[name] = (rng.normal(size=(2, 5, 3)) * 9).astype(dtype)
        writer.add_tensor(name, values[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {f"gguf/{name}": value for name, value in values.items()}


class Layer(model_spec.LayerSpec):
    """A linear layer, a convolution, and a linear layer of the same weights as the first."""

    def __init__(self):
        self.linear = common_spec.LinearSpec()
        self.conv = common_spec.Conv1DSpec()
        self.tied = common_spec.LinearSpec()


class TinySpec(model_spec.ModelSpec):
    """A model of one layer, and a flag."""

    def __init__(self):
        super().__init__()
        self.layer = Layer()
        self.pre_norm = True

    @property
    def name(self) -> str:
        return "TinySpec"

    @property
    def revision(self) -> int:
        return 5


def write_ctranslate2() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = {"linear/weight": (5, 7), "conv/weight": (4, 3, 2), "linear/bias": (5,)}
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for kind in ("float32", "int8", "int16", "float16", "int8_bfloat16"):
        spec = TinySpec()
        for layer in (spec.layer.linear, spec.layer.tied):
            layer.weight = values["linear/weight"].copy()  # which quantization changes in place
            layer.bias = values["linear/bias"].copy()
        spec.layer.conv.weight = values["conv/weight"].copy()
        spec.layer.conv.bias = np.zeros(4, np.float32)
        spec.validate()
        spec.optimize(kind)
        spec._serialize(FOLDER / f"{kind}.model.bin")
    return {f"ctranslate2/layer/{name}": value for name, value in values.items()}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    values = write_torch() | write_safetensors() | write_gguf() | write_ctranslate2()
    np.savez_compressed(FOLDER / "values.npz", **values)


if __name__ == "__main__":
    main()
