"""Beam search by CTranslate2 in float32, with random weights.

python -m experiments.benchmarks.peers.transformer_ctranslate2
"""

import os
import tempfile
from collections.abc import Callable

import numpy as np

from experiments.benchmarks import peers

try:
    import ctranslate2
    from ctranslate2.specs import TransformerSpec
except ModuleNotFoundError as error:
    raise peers.missing(error, __name__) from None

LENGTH = 30


def make_spec(config: dict, seed: int) -> TransformerSpec:
    """A model of the sizes in a config, with one matrix for both embeddings and the logits."""
    spec = TransformerSpec.from_config(config["num_layers"], config["num_heads"], pre_norm=False)
    width, hidden = config["model_dim"], config["mlp_dim"]
    rng = np.random.default_rng(seed)

    def normal(rows: int, columns: int) -> np.ndarray:
        return rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    def fill(linear, rows: int, columns: int, bias: bool = False) -> None:
        linear.weight = normal(rows, columns)
        if bias:
            linear.bias = np.zeros(rows, np.float32)

    table = normal(config["vocab_size"], width)
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = table
    spec.decoder.projection.weight = table
    for layer in (*spec.encoder.layer, *spec.decoder.layer):
        norms = [layer.self_attention.layer_norm, layer.ffn.layer_norm]
        fill(layer.self_attention.linear[0], 3 * width, width)
        fill(layer.self_attention.linear[1], width, width)
        if hasattr(layer, "attention"):
            for linear, rows in zip(layer.attention.linear, (1, 2, 1), strict=True):
                fill(linear, rows * width, width)
            norms.append(layer.attention.layer_norm)
        fill(layer.ffn.linear_0, hidden, width, bias=True)
        fill(layer.ffn.linear_1, width, hidden, bias=True)
        for norm in norms:
            norm.gamma, norm.beta = np.ones(width, np.float32), np.zeros(width, np.float32)
    words = name_words(config["vocab_size"])
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    return spec


def name_words(vocab_size: int) -> list[str]:
    """CTranslate2's vocabulary: a string for each id, with its own names for special ids."""
    names = [f"w{word}" for word in range(vocab_size)]
    for word, name in ((peers.PAD, "<unk>"), (peers.BOS, "<s>"), (peers.EOS, "</s>")):
        names[word] = name
    return names


def make_search(config: dict, seed: int) -> Callable[[peers.Batch], np.ndarray]:
    """The search: a function from a batch to its best translations, each of `LENGTH` words."""
    with tempfile.TemporaryDirectory() as folder:
        spec = make_spec(config, seed)
        spec.validate()
        spec.optimize()
        spec.save(folder)
        translator = ctranslate2.Translator(
            folder, device="cpu", compute_type="float32", intra_threads=os.cpu_count()
        )
    words = name_words(config["vocab_size"])
    ids = {word: i for i, word in enumerate(words)}

    def run(batch: peers.Batch) -> np.ndarray:
        found = translator.translate_batch(
            [[words[i] for i in row if i != peers.PAD] for row in batch["source"].tolist()],
            beam_size=config["beam_size"],
            min_decoding_length=LENGTH,
            max_decoding_length=LENGTH,
        )
        best = np.array([[ids[word] for word in one.hypotheses[0]] for one in found])
        assert best.shape == (len(batch["source"]), LENGTH), best.shape
        return best

    return run


if __name__ == "__main__":
    peers.check_search(make_search)
