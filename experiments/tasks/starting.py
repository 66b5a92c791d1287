"""The network that training starts from: values of a run, and checks of a published one."""

import functools
import json
from typing import Any

from flax import linen as nn

from attn_research.data.files import user_path
from attn_research.data.text.json_tokenizer import JsonTokenizer
from attn_research.pretrained import network_of, read_checkpoint
from attn_research.pretrained.family import difference
from attn_research.pretrained.tokenizers import load_tokenizer


def values_of_run(place: str) -> dict[str, Any] | None:
    """The values of the config of a run, by name; None for a folder that holds none.

    ValueError where its description is damaged.
    """
    about = user_path(place) / "run.json"
    if not about.is_file():
        return None
    try:
        return dict(json.loads(about.read_bytes())["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{about} does not describe a run: {error!r}") from None


@functools.lru_cache(maxsize=2)
def read_json_tokenizer(place: str) -> JsonTokenizer:
    """The tokenizer of a tokenizer.json, or of a published checkpoint, a folder or a GGUF file."""
    path = user_path(place)
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.suffix == ".json" and file.is_file():
        return JsonTokenizer.read(file)
    checkpoint = read_checkpoint(path)
    published = load_tokenizer(checkpoint, network_of(checkpoint).vocab_size)
    return JsonTokenizer(published.tokenizer.to_str())


def check_described(place: str, network: nn.Module, described: nn.Module) -> None:
    """ValueError where a published network is not the one that values of a config describe."""
    if other := difference(network, described):
        raise ValueError(
            f"--init_from={place}: its {other} is {getattr(network, other)!r}; this network has "
            f"{getattr(described, other)!r}"
        )
