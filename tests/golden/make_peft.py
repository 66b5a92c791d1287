"""Writes peft.npz: low-rank updates by the library peft of the model of bert_classes.npz.

python tests/golden/make_peft.py           needs torch, transformers and peft; the tests need none
python tests/golden/make_peft.py FOLDER    prints how far the logits of an adapter in FOLDER, beside
                                           it as logits.npy, depart from those of peft

Arrays are `adapter.NAME` of adapter_model.safetensors, `config`, the text of adapter_config.json,
and the logits `output` for the inputs of bert_classes.npz.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import peft
import torch
import transformers
from safetensors.numpy import load_file

HERE = pathlib.Path(__file__).parent


def base() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """The model of bert_classes.npz and its inputs."""
    arrays = np.load(HERE / "pretrained" / "bert_classes.npz")
    config = transformers.BertConfig(**json.loads(str(arrays["about"]))["config"])
    model = transformers.BertForSequenceClassification(config).eval()
    tensors = {
        name.removeprefix("tensor."): torch.tensor(arrays[name])
        for name in arrays.files
        if name.startswith("tensor.")
    }
    model.load_state_dict(tensors)
    inputs = {
        name.removeprefix("input."): torch.tensor(arrays[name])
        for name in arrays.files
        if name.startswith("input.")
    }
    return model, inputs


def make() -> None:
    model, inputs = base()
    options = peft.LoraConfig(
        r=2,
        lora_alpha=5,
        target_modules=["query", "value", "intermediate.dense"],
        task_type="SEQ_CLS",
    )
    adapted = peft.get_peft_model(model, options).eval()
    torch.manual_seed(1)
    for _, parameter in adapted.named_parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        output = adapted(**inputs).logits.numpy()
    with tempfile.TemporaryDirectory() as folder:
        adapted.save_pretrained(folder)
        tensors = load_file(f"{folder}/adapter_model.safetensors")
        config = pathlib.Path(folder, "adapter_config.json").read_text()
    arrays = {f"adapter.{name}": array for name, array in tensors.items()}
    np.savez_compressed(HERE / "peft.npz", config=config, output=output, **arrays)


def compare(folder: str) -> None:
    model, inputs = base()
    adapted = peft.PeftModel.from_pretrained(model, folder).eval()
    with torch.no_grad():
        found = adapted(**inputs).logits.numpy()
    ours = np.load(f"{folder}/logits.npy")
    print(f"{np.abs(found - ours).max():.2e}, of logits up to {np.abs(found).max():.3f}")


if __name__ == "__main__":
    compare(sys.argv[1]) if len(sys.argv) > 1 else make()
