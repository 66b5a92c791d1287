"""Writes pretrained/NAME.npz: small models of Hugging Face's with random weights, and outputs.

python tests/golden/make_pretrained.py        needs torch and transformers; the tests need neither

An array is `tensor.NAME` of the state dictionary, `input.NAME`, `output.NAME`, or `about`, the
config as JSON with the versions. Prompts of `greedy.N` are continued alone, without padding.
"""

import json
import pathlib

import numpy as np
import torch
import transformers

FOLDER = pathlib.Path(__file__).with_name("pretrained")
ENCODER = dict(
    vocab_size=29,
    hidden_size=12,
    num_hidden_layers=3,
    num_attention_heads=3,
    intermediate_size=20,
    max_position_embeddings=17,
    type_vocab_size=2,
    layer_norm_eps=1e-3,  # so large that it shows
)
DECODER = dict(
    n_embd=12, n_layer=3, n_head=3, n_positions=23, vocab_size=29, bos_token_id=0, eos_token_id=None
)
LLAMA = ENCODER | dict(
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=6,
    rms_norm_eps=1e-3,
    rope_theta=100.0,
    eos_token_id=None,
)
for name in ("type_vocab_size", "layer_norm_eps"):
    del LLAMA[name]
CASES = {
    "bert_pretraining": ("BertForPreTraining", ENCODER),
    "bert_classes": ("BertForSequenceClassification", ENCODER | dict(num_labels=5)),
    "bert_token_classes": ("BertForTokenClassification", ENCODER | dict(num_labels=4)),
    "roberta_masked_lm": ("RobertaForMaskedLM", ENCODER | dict(pad_token_id=1)),
    "roberta_classes": ("RobertaForSequenceClassification", ENCODER | dict(num_labels=5)),
    "albert_pretraining": ("AlbertForPreTraining", ENCODER | dict(embedding_size=8)),
    "gpt": ("OpenAIGPTLMHeadModel", DECODER),
    "gpt2": ("GPT2LMHeadModel", DECODER | dict(n_inner=20)),
    "llama": ("LlamaForCausalLM", LLAMA),
    "llama_tied": (
        "LlamaForCausalLM",
        LLAMA | dict(tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
    ),
}
GREEDY = "gpt2", "llama"
LAYERS = "output.hidden_states", "output.attentions"
OUTPUTS = "logits", "prediction_logits", "seq_relationship_logits", "sop_logits"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for number, (name, (architecture, fields)) in enumerate(CASES.items()):
        model = make_model(architecture, fields, number)
        arrays = run(model, "token_type_ids" if "type_vocab_size" in fields else None)
        if name in GREEDY:
            arrays |= greedy(model)
        if name.endswith("classes"):  # the layers are those of the other file of the family
            arrays = {key: value for key, value in arrays.items() if key not in LAYERS}
        write(name, model, number, arrays)


def make_model(architecture, fields, seed):
    """A model of the config with random parameters."""
    torch.manual_seed(seed)
    kind = getattr(transformers, architecture)
    model = kind(kind.config_class(**fields, attn_implementation="eager")).eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            parameter.normal_(0.0, 0.4)
            if "norm" in path.lower() or ".ln_" in path:
                parameter.add_(float(path.endswith("weight")))
    model.tie_weights()
    return model


def write(name, model, seed, arrays):
    """The file of a model and its arrays."""
    state = {f"tensor.{key}": value.numpy() for key, value in model.state_dict().items()}
    about = {
        "config": model.config.to_dict() | {"architectures": [type(model).__name__]},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "seed": seed,
    }
    text = np.array(json.dumps(about, default=str, sort_keys=True))
    np.savez_compressed(FOLDER / f"{name}.npz", about=text, **arrays, **state)


def run(model, types, has_global=False):
    """Inputs with padding and holes, and what the model makes of them."""
    ids = torch.randint(2, 29, (2, 11))
    mask = torch.tensor([[1] * 11, [1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 0]])
    inputs = {"input_ids": ids, "attention_mask": mask}
    if types:
        inputs[types] = torch.tensor([[0] * 5 + [1] * 6, [0, 0, 0] + [1] * 8])
        if model.config.type_vocab_size == 1:
            inputs[types].zero_()
    if has_global:
        inputs["global_attention_mask"] = torch.tensor([[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]] * 2)
        inputs["global_attention_mask"][1, 7] = 1
    with torch.no_grad():
        found = model(**inputs, output_hidden_states=True, output_attentions=True)
    arrays = {f"input.{key}": value.numpy() for key, value in inputs.items()}
    return arrays | {f"output.{key}": value for key, value in outputs(found).items()}


def outputs(found, length=None):
    """The arrays of an output, of which hidden states and weights are cut to a length."""
    arrays = {key: found[key].numpy() for key in OUTPUTS if key in found}
    states = [each[:, :length] for each in found.hidden_states]
    arrays["hidden_states"] = torch.stack(states, 1).numpy()
    if len({each.shape for each in found.attentions}) == 1:
        weights = torch.stack(found.attentions, 1)
        arrays["attentions"] = weights[..., :length, :length].numpy()
    return arrays


def greedy(model):
    """Prompts of unequal lengths, each with its greedy continuation."""
    arrays = {}
    for number, length in enumerate((7, 2, 4)):
        prompt = torch.randint(2, 29, (1, length))
        found = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=9,
            do_sample=False,
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
        best = torch.stack(found.logits).topk(2).values[:, 0]
        assert (best[:, 0] - best[:, 1]).min() > 1e-2, "two tokens are too close: another seed"
        arrays[f"greedy.{number}"] = found.sequences[0].numpy()
        arrays[f"greedy_length.{number}"] = np.array(length)
    return arrays


if __name__ == "__main__":
    main()
