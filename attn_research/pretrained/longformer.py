"""Longformer's format: RoBERTa's, with a window by layer and more projections for global tokens.

A classifier of texts has the first token global, others none: `with_global_tokens` makes the mask
of a call for those of its texts.
"""

from collections.abc import Collection
from typing import Any

from flax import linen as nn

from attn_research.attention import ByLayer, Global, Mask, Window
from attn_research.attention.masks import Or
from attn_research.layers.longformer import LongformerAttention
from attn_research.models.bert import Bert
from attn_research.pretrained import bert, roberta
from attn_research.pretrained.family import Family
from attn_research.pretrained.names import Name
from attn_research.pretrained.options import Options

PREFIX = "longformer."
PROJECTIONS = (*bert.PROJECTIONS, *(f"{name}_global" for name in bert.PROJECTIONS))


def _network(options: Options, tensors: Collection[str]) -> Bert:
    options.only("attention_mode", "longformer")
    options.only("ignore_attention_mask", False)
    options.without_effect("onnx_export")
    classifies = "classifier.out_proj.weight" in tensors
    return roberta.common_network(
        options,
        tensors,
        PREFIX,
        mask=_windows(options) | Global(0, int(classifies)),
        attention=LongformerAttention,
        classifier_dropout=options.number("hidden_dropout_prob", 0.1),
    )


def _windows(options: Options) -> Mask:
    """The window of each layer, which has half of the keys on either side of a query."""
    value, count = options.value("attention_window", 512), options.whole("num_hidden_layers")
    sizes = value if isinstance(value, list) else [value]
    even = all(type(size) is int and 0 < size < 2**31 and size % 2 == 0 for size in sizes)
    if not even or not sizes or (isinstance(value, list) and len(sizes) != count):
        raise ValueError(
            f"config field attention_window is {value!r:.80}: an even number is needed, or a list "
            f"of one for each of {count} layers"
        )
    windows = tuple(Window(size // 2, size // 2) for size in sizes)
    return windows[0] if len(set(windows)) == 1 else ByLayer(windows)


def _config(network: nn.Module) -> dict[str, Any]:
    found = roberta.common_config(network, "Longformer")
    match network.mask:
        case Or(a=Window() as window, b=Global()):
            windows: tuple[Mask, ...] = (window,) * network.num_layers
        case Or(a=ByLayer(masks=windows), b=Global()):
            pass
        case _:
            windows = ()
    if not windows or not all(isinstance(each, Window) for each in windows):
        raise ValueError(f"the mask {network.mask} is no window with global tokens")
    return found | {"attention_window": [2 * each.left for each in windows], "sep_token_id": 2}


def _names(network: nn.Module) -> tuple[Name, ...]:
    return roberta.common_names(network, PREFIX, PROJECTIONS)


def _tied(network: nn.Module) -> dict[str, str]:
    return bert.tied_words(PREFIX, "lm_head")


def _ignored(network: nn.Module) -> tuple[str, ...]:
    return roberta.common_ignored(network, PREFIX)


FAMILY = Family("longformer", PREFIX, _network, _config, _names, tied=_tied, ignored=_ignored)
