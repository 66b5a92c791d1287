"""Writes pretrained/NAME.npz of models that read images or sounds, or write what they read anew.

python tests/golden/make_pretrained_more.py        needs torch and transformers; the tests do not

Arrays are called as make_pretrained.py has them; tensors are as the original library saves them.
`greedy.N` are the decoder's ids for row N of the inputs alone, without padding, BOS first.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file

FOLDER = pathlib.Path(__file__).with_name("pretrained")
BLOCKS = dict(hidden_size=12, num_hidden_layers=3, num_attention_heads=3)
IMAGES = dict(image_size=(8, 12), patch_size=4, layer_norm_eps=1e-3)
SQUARES = IMAGES | dict(image_size=12)
VIT = BLOCKS | IMAGES | dict(intermediate_size=20)
T5 = dict(
    vocab_size=29, d_model=12, d_kv=5, d_ff=20, num_layers=3, num_decoder_layers=2, num_heads=3,
    relative_attention_num_buckets=8, relative_attention_max_distance=9, layer_norm_epsilon=1e-3,
    eos_token_id=None,
)  # fmt: skip
BART = dict(
    vocab_size=29, d_model=12, encoder_layers=3, decoder_layers=2, encoder_ffn_dim=20,
    decoder_ffn_dim=20, encoder_attention_heads=3, decoder_attention_heads=3, pad_token_id=0,
    bos_token_id=0, eos_token_id=None, forced_eos_token_id=None, decoder_start_token_id=0,
)  # fmt: skip
WHISPER = BART | dict(
    num_mel_bins=5, max_source_positions=9, max_target_positions=14, begin_suppress_tokens=None
)
CLIP = dict(
    text_config=BLOCKS
    | dict(
        vocab_size=29, intermediate_size=20, max_position_embeddings=17, layer_norm_eps=1e-3,
        bos_token_id=0, eos_token_id=28,
    ),
    vision_config=BLOCKS
    | dict(hidden_size=15, intermediate_size=18, image_size=12, patch_size=4, layer_norm_eps=1e-3),
    projection_dim=7,
)  # fmt: skip
CASES = {
    "vit_classes": ("ViTForImageClassification", VIT | dict(num_labels=5)),
    "vit": ("ViTModel", VIT | dict(qkv_bias=False, hidden_act="gelu_new")),
    "dinov2_classes": ("Dinov2ForImageClassification", BLOCKS | SQUARES | dict(num_labels=5)),
    "dinov2": ("Dinov2Model", BLOCKS | SQUARES | dict(use_swiglu_ffn=True, qkv_bias=False)),
    "t5": ("T5ForConditionalGeneration", T5),
    "t5_gated": (
        "T5ForConditionalGeneration",
        T5 | dict(feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    ),
    "marian": (
        "MarianMTModel",
        BART | dict(activation_function="swish", scale_embedding=True, max_position_embeddings=17),
    ),
    "marian_apart": (
        "MarianMTModel",
        BART
        | dict(
            decoder_vocab_size=23, share_encoder_decoder_embeddings=False,
            max_position_embeddings=17,
        ),
    ),
    "clip": ("CLIPModel", CLIP),
    "clip_largest_id": (
        "CLIPModel", CLIP | dict(text_config=CLIP["text_config"] | dict(eos_token_id=2)),
    ),
    "whisper": ("WhisperForConditionalGeneration", WHISPER),
}  # fmt: skip
OUTPUTS = (
    "logits", "pooler_output", "last_hidden_state", "encoder_last_hidden_state",
    "logits_per_image", "logits_per_text", "image_embeds", "text_embeds",
)  # fmt: skip
LAYERS = (
    "hidden_states", "attentions", "encoder_attentions", "decoder_attentions", "cross_attentions",
)  # fmt: skip
MASK = torch.tensor([[1] * 11, [1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 0]])
NEW = 9


def main() -> None:
    chosen = sys.argv[1:] or list(CASES)
    for number, (name, (architecture, fields)) in enumerate(CASES.items()):
        if name not in chosen:
            continue
        torch.manual_seed(100 + number)
        kind = getattr(transformers, architecture)
        model = kind(kind.config_class(**fields)).eval()
        model.set_attn_implementation("eager")
        draw(model, untied=fields.get("tie_word_embeddings") is False)
        inputs = draw_inputs(model)
        with torch.no_grad():
            found = model(**inputs, **({} if "clip" in name else WANTED))
        arrays = {f"input.{key}": value.numpy() for key, value in inputs.items()}
        arrays |= {f"output.{k}": found[k].numpy() for k in OUTPUTS if found.get(k) is not None}
        for kind in LAYERS:
            if found.get(kind) is not None:
                arrays[f"output.{kind}"] = torch.stack(found[kind], 1).numpy()
        if "decoder_input_ids" in inputs:
            arrays |= greedy(model, inputs)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            config = json.loads((pathlib.Path(folder) / "config.json").read_text())
            state = load_file(pathlib.Path(folder) / "model.safetensors")
        about = {
            "config": config,
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
            "seed": 100 + number,
        }
        text = np.array(json.dumps(about, sort_keys=True))
        tensors = {f"tensor.{key}": value for key, value in state.items()}
        np.savez_compressed(FOLDER / f"{name}.npz", about=text, **arrays, **tensors)


WANTED = dict(output_hidden_states=True, output_attentions=True)


def draw(model, untied):
    """Random parameters; sinusoids stay as they are."""
    if untied:  # version 5 ties what a config says is not
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if not parameter.requires_grad and "marian" in type(model).__name__.lower():
                continue
            parameter.normal_(0.0, 0.4)
            if "norm" in path.lower() or "layrnorm" in path:
                parameter.add_(float(path.endswith("weight")))
            if path == "logit_scale":
                parameter.fill_(1.3)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_()


def draw_inputs(model):
    """Inputs with padding and holes."""
    config = model.config
    if config.model_type in ("vit", "dinov2"):
        size = (8, 12) if config.model_type == "vit" else (12, 12)
        if type(model).__name__ == "Dinov2Model":  # positions resized, fewer down and more across
            size = 8, 20
        return {"pixel_values": torch.randn(2, 3, *size)}
    if config.model_type == "clip":
        ids = torch.randint(3, 28, (3, 11))
        ids[0, 10] = ids[1, 7] = ids[2, 4] = 28
        mask = torch.ones_like(ids)
        mask[1, 8:] = mask[2, 5:] = mask[2, 1] = 0
        images = torch.randn(2, 3, 12, 12)
        return {"input_ids": ids, "attention_mask": mask, "pixel_values": images}
    targets = torch.randint(2, 23, (2, 6))
    if config.model_type == "whisper":
        return {"input_features": torch.randn(2, 5, 18), "decoder_input_ids": targets}
    ids = torch.randint(2, 29, MASK.shape)
    return {"input_ids": ids, "attention_mask": MASK, "decoder_input_ids": targets}


def greedy(model, inputs):
    """The greedy output of each row alone; ids 0 and 1 are not in it, nor is there an end."""
    arrays = {}
    for row in range(2):
        if "input_ids" in inputs:
            real = MASK[row].bool() if row == 0 else torch.arange(11) < 2
            one = {"input_ids": inputs["input_ids"][row][real][None]}
        else:
            one = {"input_features": inputs["input_features"][row : row + 1]}
        found = model.generate(
            **one,
            max_new_tokens=NEW,
            do_sample=False,
            num_beams=1,
            suppress_tokens=[0, 1],
            output_logits=True,
            return_dict_in_generate=True,
            **GENERATION,
        )
        tokens = found.sequences[0][-NEW:]
        scores = torch.stack(found.logits)[:, 0]
        scores[:, :2] = -torch.inf
        best = scores.topk(2).values
        assert (best[:, 0] - best[:, 1]).min() > 1e-3, "two tokens are too close: another seed"
        assert (scores.argmax(-1) == tokens).all()
        arrays[f"greedy.{row}"] = np.concatenate([[0], tokens.numpy()])
        arrays[f"greedy_length.{row}"] = np.array(1)
    return arrays


GENERATION = dict(pad_token_id=0, eos_token_id=None, decoder_start_token_id=0)

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    main()
