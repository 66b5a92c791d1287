"""Folders of published checkpoints, of golden arrays and of words of one letter."""

import json

from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.pretrained.golden import load

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [chr(ord("a") + number) for number in range(24)]


def write(folder, name, words):
    golden = load(name).checkpoint
    (folder / "config.json").write_text(json.dumps(golden.config))
    save_file(dict(golden.tensors), folder / "model.safetensors")
    if "gpt" in name or "llama" in name:
        tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "?"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer.save(str(folder / "tokenizer.json"))
    else:
        (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    return folder
