"""BERT as a classifier of texts: its config, and what it takes from the start of its training.

`--init_from` names a published checkpoint, or a run: the sizes of the network and the tokenizer are
then those, and what the classes need is new.
"""

import dataclasses
import functools
from collections.abc import Set
from typing import Any, Literal

from attn_research.data.files import user_path
from attn_research.models.bert import HEADS, Bert, BertClassifier
from attn_research.pretrained import network_of, read_checkpoint
from experiments.harness.config import Config, fraction, setting
from experiments.tasks.starting import check_described, values_of_run
from experiments.tasks.text_classification.batches import longest
from experiments.tasks.text_classification.config import (
    EXAMPLES,
    LabelledTextConfig,
    TextClassificationConfig,
)
from experiments.tasks.text_classification.data import read_tokenizer
from experiments.tasks.text_classification.task import TextClassificationTask


def _size(text: str) -> Any:
    """A size of the network, open where it is 0."""
    return setting(0, f"{text}; 0: as --init_from has.", 0)


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """The network. Sizes that are 0 are those of --init_from."""

    num_layers: int = _size("Layers")
    model_dim: int = _size("Width of states and embeddings")
    mlp_dim: int = _size("Width of the feed-forward layers")
    num_heads: int = _size("Heads")
    max_length: int = _size("Positions with an embedding")
    pooling: Literal["class", "mean"] = setting(
        "class",
        "What a text is classified by: the state of its first token, or the mean of its tokens' "
        "states, as sentence encoders are trained.",
    )
    dropout: float = fraction(0.1, "Dropout of each layer's output, embeddings and heads.")
    attention_dropout: float = fraction(0.1, "Dropout of attention weights.")


# What BERT reads, and values of scale tiny.
READS = TextClassificationConfig(
    LabelledTextConfig(tokenizer="given", class_token=True),
    dataclasses.replace(EXAMPLES, batching="packed", batch_tokens=1024),
)
TINY_SIZES = dict(num_layers=2, model_dim=16, mlp_dim=32, num_heads=2, vocab_size=500)
TINY_NETWORK = TINY_SIZES | dict(max_length=48)
TINY_READING = dict(
    tokenizer="words", num_steps=6, eval_every=3, save_every=6, warmup_steps=2, max_words=29,
    row_length=32, batch_tokens=128, row_examples=3, bucket_width=20, train_examples=200,
    test_examples=40, learning_rate=1e-3,
)  # fmt: skip
TINY = TINY_NETWORK | TINY_READING
SIZES = ("num_layers", "model_dim", "mlp_dim", "num_heads", "max_length")


def is_head(path: str) -> bool:
    """Whether a parameter is that of a head, which a new task begins anew."""
    return path.split("/")[1] in HEADS


def complete(config: Config, stated: Set[str]) -> Config:
    """The config with the sizes and the tokenizer of --init_from, but for sizes that are stated.

    A folder that is not there changes nothing; training and --describe refuse it. ValueError for a
    tokenizer beside --init_from, whose embeddings it does not know.
    """
    folder, text = config.train.init_from, config.task.text
    if not folder:
        return config
    if text.tokenizer != "given" and "tokenizer" in stated:
        raise ValueError(
            f"--tokenizer={text.tokenizer}: the embeddings of --init_from belong to its own; give "
            "--tokenizer=given, or a row that begins from it"
        )
    if not user_path(folder).exists():
        return config
    found, values = _sizes(str(user_path(folder))), config.values()
    implied = {name: found[name] for name in SIZES if name not in stated or not values[name]}
    vocabulary = text.vocabulary or folder
    size = found["vocab_size"]
    return config.replace(tokenizer="given", vocabulary=vocabulary, vocab_size=size, **implied)


@functools.lru_cache(maxsize=2)
def _sizes(folder: str) -> dict[str, int]:
    """The sizes of the network in a folder; a ValueError where it is none that can be trained."""
    path = user_path(folder)
    if (values := values_of_run(folder)) is not None:
        sizes = {name: values[name] for name in SIZES if name in values}
        if missing := [name for name in SIZES if name not in sizes]:
            raise ValueError(f"--init_from={folder}: a run without {missing[0]} is no BERT")
        tokenizer = read_tokenizer(folder)
        if values["tokenizer"] == "given":
            return sizes | {"vocab_size": values["vocab_size"]}
        return sizes | {"vocab_size": tokenizer.vocab_size + ("masking" in values)}
    network = network_of(read_checkpoint(path))
    if not isinstance(network, Bert):
        raise ValueError(f"--init_from={folder}: {type(network).__name__} is no BERT")
    found = {name: getattr(network, name) for name in (*SIZES, "vocab_size")}
    plain = _encoder(found, heads=network.heads)
    free = ("num_classes", "dropout", "attention_dropout", "classifier_dropout")
    plain = plain.clone(**{name: getattr(network, name) for name in free})
    check_described(folder, network, plain)
    return found


def _encoder(sizes: dict[str, int], **options: Any) -> Bert:
    names = ("vocab_size", "num_layers", "model_dim", "mlp_dim", "num_heads")
    return Bert(*(sizes[name] for name in names), max_length=sizes["max_length"], **options)


def make_encoder(config: Config, task: TextClassificationTask, **options: Any) -> BertClassifier:
    """The network of a config whose model has the values of `EncoderConfig`."""
    model = config.model
    if missing := [name for name in SIZES if not getattr(model, name)]:
        raise ValueError(
            f"--{missing[0]}=0 is that of --init_from=FOLDER: give it, a published BERT or a run"
        )
    needed = longest(config.task.text)
    if needed > model.max_length:
        raise ValueError(
            f"--max_words={config.task.text.max_words}: a text takes {needed} positions, and this "
            f"network has {model.max_length}"
        )
    if not config.task.text.class_token and model.pooling == "class":
        raise ValueError("--class_token=False: this network reads the state of that token")
    if task.labels == "tags" and model.pooling == "mean":
        raise ValueError(f"--pooling=mean: --data={config.task.text.data} has a label a word")
    heads = ("token_classifier",) if task.labels == "tags" else ("pooler", "classifier")
    sizes = {name: getattr(model, name) for name in SIZES} | {"vocab_size": task.vocab_size}
    bert = _encoder(
        sizes,
        heads=heads,
        num_classes=task.num_outputs,
        dropout=model.dropout,
        attention_dropout=model.attention_dropout,
        classifier_dropout=model.dropout,
        implementation=config.execution.named_implementation,
        remat=config.execution.remat,
        **options,
    )
    return BertClassifier(bert, config.task.batching.row_examples, model.pooling)
