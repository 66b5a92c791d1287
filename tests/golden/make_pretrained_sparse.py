"""Writes pretrained/NAME.npz of Longformer and BigBird, as make_pretrained.py does of others.

python tests/golden/make_pretrained_sparse.py        needs torch and transformers; the tests do not

Weights of Longformer's attention, which it keeps by window, are left out. Of BigBird there are also
arrays `full.NAME` of longer rows with full attention, and `sparse.NAME` of the same with block
sparse attention and `sparse.blocks`, the random blocks that it drew: the original draws them in
training alone, so it is in that mode here, without dropout.
"""

import numpy as np
import torch
from make_pretrained import ENCODER, FOLDER, make_model, outputs, run, write
from make_sparse import record

WINDOWS = ENCODER | dict(pad_token_id=1, attention_window=[4, 8, 4])
BLOCKS = ENCODER | dict(
    block_size=2, num_random_blocks=1, max_position_embeddings=23, attention_type="block_sparse",
    sep_token_id=None, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
LONGFORMERS = {
    "longformer_masked_lm": ("LongformerForMaskedLM", WINDOWS),
    "longformer_classes": (
        "LongformerForSequenceClassification",
        WINDOWS | dict(attention_window=4, num_labels=5),
    ),
    "longformer_token_classes": ("LongformerForTokenClassification", WINDOWS | dict(num_labels=4)),
}
LENGTH = 19  # of which 7 blocks have full attention, and 10 have not


def main() -> None:
    for number, (name, (architecture, fields)) in enumerate(LONGFORMERS.items(), 200):
        model = make_model(architecture, fields, number)
        arrays = run(model, "token_type_ids", name != "longformer_classes")
        arrays.pop("output.attentions", None)
        write(name, model, number, arrays)
    model = make_model("BigBirdForPreTraining", BLOCKS, 210)
    mask = torch.ones((2, LENGTH), dtype=torch.long)
    mask[1, 16:] = mask[1, 3] = 0
    inputs = {"input_ids": torch.randint(2, 29, mask.shape), "attention_mask": mask}
    arrays = {f"sparse.{name}": array for name, array in run_sparse(model, inputs).items()}
    # A short row turns the model to full attention, for longer ones after it too.
    arrays |= run(model, "token_type_ids")
    assert model.bert.attention_type == "original_full"
    with torch.no_grad():
        found = model(**inputs, output_hidden_states=True, output_attentions=True)
    arrays |= {f"full.{name}": array for name, array in outputs(found).items()}
    write("big_bird", model, 210, arrays)


def run_sparse(model, inputs):
    """Inputs and outputs with block sparse attention, and the random blocks [L, N, rows, count]."""
    drawn = []
    for layer in model.bert.encoder.layer:
        record(layer.attention.self, drawn)
    with torch.no_grad():
        model.eval()(**inputs)
        # What the module on this format says of it.
        assert len(drawn) == model.config.num_hidden_layers and not np.any(drawn)
        drawn.clear()
        found = model.train()(**inputs, output_hidden_states=True, output_attentions=True)
    model.eval()
    arrays = {name: array.numpy() for name, array in inputs.items()} | outputs(found, LENGTH)
    return arrays | {"blocks": np.stack(drawn)}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    main()
