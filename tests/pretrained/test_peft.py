"""Adapter folders of peft: golden arrays read and written, and what is refused."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.pretrained.formats.safetensors import read_safetensors, write_safetensors
from attn_research.pretrained.peft import CONFIG, WEIGHTS, read_adapter, write_adapter
from attn_research.training.lora import LORA, LoRA
from tests.pretrained.golden import load, pretrained

with np.load(pathlib.Path(__file__).parents[1] / "golden" / "peft.npz") as file:
    ARRAYS = {name: file[name] for name in file.files}
TENSORS = {k.removeprefix("adapter."): v for k, v in ARRAYS.items() if k.startswith("adapter.")}


def write(folder, tensors=TENSORS, **changes):
    folder.mkdir(exist_ok=True)
    config = json.loads(str(ARRAYS["config"])) | changes
    (folder / CONFIG).write_text(json.dumps(config))
    write_safetensors(folder / WEIGHTS, tensors)
    return folder


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    network, params = pretrained("bert_classes")
    return read_adapter(write(tmp_path_factory.mktemp("peft") / "golden"), network, params)


def logits_of(params):
    network, inputs = pretrained("bert_classes").network, load("bert_classes").inputs
    ids, valid = jnp.asarray(inputs["input_ids"]), jnp.asarray(inputs["attention_mask"], bool)
    options = {"types": jnp.asarray(inputs["token_type_ids"])}
    options["positions"] = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    return jax.jit(network.apply)(params, ids, valid, **options).heads["classifier"]


def test_the_logits_are_those_of_peft(found):
    lora = LoRA(found.rank, found.alpha, "")
    assert (found.rank, found.alpha) == (2, 5)
    base = pretrained("bert_classes").params["params"]
    adapted = {"params": base | found.saved, LORA: found.low}
    np.testing.assert_allclose(logits_of(lora.apply(adapted)), ARRAYS["output"], atol=1e-4)
    merged = lora.merge(adapted)
    np.testing.assert_allclose(logits_of({"params": merged["params"]}), ARRAYS["output"], atol=1e-4)
    assert np.abs(logits_of({"params": base}) - ARRAYS["output"]).max() > 0.1


def test_a_written_folder_has_the_tensors_of_peft(found, tmp_path):
    network, params = pretrained("bert_classes")
    write_adapter(tmp_path, network, params, found)
    written = {k: v.read() for k, v in read_safetensors(tmp_path / WEIGHTS).items()}
    assert written.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(written[name], array)
    config = json.loads((tmp_path / CONFIG).read_text())
    assert (config["r"], config["lora_alpha"], config["task_type"]) == (2, 5, "SEQ_CLS")
    assert config["modules_to_save"] == ["classifier"]
    assert r"bert\.encoder\.layer\.\d+\.attention\.self\.query" in config["target_modules"]
    again = read_adapter(tmp_path, network, params)
    jax.tree.map(np.testing.assert_array_equal, again, found)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers itself
def test_peft_loads_a_written_folder(found, tmp_path):
    for package in ("torch", "transformers"):
        pytest.importorskip(package, reason="peft is a peer: pip install -e .[peers]")
    peft = pytest.importorskip("peft", reason="peft is a peer: pip install -e .[peers]")
    import torch

    from tests.golden.make_peft import base

    network, params = pretrained("bert_classes")
    write_adapter(tmp_path, network, params, found)
    model, inputs = base()
    with torch.no_grad():
        output = peft.PeftModel.from_pretrained(model, tmp_path).eval()(**inputs).logits.numpy()
    np.testing.assert_allclose(output, ARRAYS["output"], atol=1e-5)


def test_layers_that_are_left_out_have_no_update(tmp_path):
    network, params = pretrained("bert_classes")
    some = {k: v for k, v in TENSORS.items() if "layer.1" not in k}
    low = read_adapter(write(tmp_path / "some", some), network, params).low
    query = low["blocks"]["attention"]["query"]["kernel"]
    assert not query["a"][1].any() and query["a"][0].any() and query["b"][2].any()


@pytest.mark.parametrize(
    ("changes", "renamed", "message"),
    [
        ({"use_dora": True}, {}, "config field use_dora is True: supported is False"),
        ({"peft_type": "IA3"}, {}, "peft_type is 'IA3'"),
        ({"new_choice": 1}, {}, "new_choice .* is not known"),
        ({"r": 3}, {}, "has shape"),
        ({}, {"layer.1": "layer.9"}, "this network has no tensor for .*layer.9"),
        ({}, {"query.lora_B": "key.lora_B"}, "query/kernel/a has an A and no B"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, changes, renamed, message):
    network, params = pretrained("bert_classes")
    tensors = TENSORS
    for old, new in renamed.items():
        tensors = {name.replace(old, new): array for name, array in tensors.items()}
    with pytest.raises(ValueError, match=message):
        read_adapter(write(tmp_path / "bad", tensors, **changes), network, params)


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{CONFIG} is missing"):
        read_adapter(tmp_path, *pretrained("bert_classes"))
