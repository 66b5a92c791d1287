"""Fields of a published config: each is read, has no effect, or is refused by name."""

from collections.abc import Collection, Mapping
from typing import Any

REQUIRED = object()
# Fields of any model's config that change neither its states nor its logits: where it comes from,
# its tokenizer, its initialization, what the original library returns, and how it generates.
_WITHOUT_EFFECT = """
    _attn_implementation _name_or_path _num_labels architectures attn_implementation
    chunk_size_feed_forward dtype finetuning_task gradient_checkpointing initializer_factor
    initializer_range label2id language model_type name name_or_path output_attentions
    output_hidden_states output_past problem_type return_dict task_specific_params tokenizer_class
    torch_dtype torchscript transformers_version use_bfloat16 use_cache use_return_dict
    bad_words_ids begin_suppress_tokens bos_token_id cls_token_id decoder_start_token_id
    diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size eos_token_id
    eos_token_ids exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id
    length_penalty mask_token_id max_length min_length no_repeat_ngram_size num_beam_groups
    num_beams num_return_sequences output_scores pad_token_id prefix remove_invalid_values
    repetition_penalty return_dict_in_generate sep_token_id suppress_tokens temperature top_k top_p
    typical_p unk_token_id
"""
WITHOUT_EFFECT = frozenset(_WITHOUT_EFFECT.split())
# Fields of any model's config that change a model, with the values that leave it as it is.
UNSUPPORTED = {
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "pruned_heads": ({}, None),
}
ACTIVATION_NAMES = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "swish": "silu",
}
PUBLISHED_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_new",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
}


class Options:
    """A config that is read field by field; in the end `finish` names those that nobody asked for.

    Every error is a ValueError of one line that names the field.
    """

    def __init__(self, config: Mapping[str, Any], ignore: Collection[str] = ()):
        self._config = dict(config)
        self._known = set(WITHOUT_EFFECT) | set(ignore)

    def whole(self, name: str, default: Any = REQUIRED) -> int:
        """A size."""
        value = self._take(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**31:
            raise ValueError(f"config field {name} is {value!r}: an integer from 1 on is needed")
        return value

    def number(self, name: str, default: Any = REQUIRED) -> float:
        """A number that is not negative, such as an epsilon or a rate."""
        value = self._take(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e30:
            raise ValueError(f"config field {name} is {value!r}: a number from 0 on is needed")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """A boolean."""
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise ValueError(f"config field {name} is {value!r}: true or false is needed")
        return value

    def activation(self, name: str, default: Any = REQUIRED) -> str:
        """An activation, by our name."""
        value = self._take(name, default)
        if not isinstance(value, str) or value not in ACTIVATION_NAMES:
            raise ValueError(
                f"config field {name} is {value!r}: supported are {', '.join(ACTIVATION_NAMES)}"
            )
        return ACTIVATION_NAMES[value]

    def value(self, name: str, default: Any = REQUIRED) -> Any:
        """A field of any kind, which the caller checks."""
        return self._take(name, default)

    def only(self, name: str, *supported: Any) -> None:
        """A field that may be left out or have one of the supported values."""
        value = self._take(name, supported[0])
        if not any(value == each and type(value) is type(each) for each in supported):
            listed = ", ".join(map(repr, supported))
            raise ValueError(f"config field {name} is {value!r}: supported is {listed}")

    def without_effect(self, *names: str) -> None:
        """Fields of this family that change neither states nor logits."""
        self._known.update(names)

    def finish(self) -> None:
        """Raises ValueError for fields that are left over, as their effect is not known."""
        for name, supported in UNSUPPORTED.items():
            if name not in self._known:
                self.only(name, *supported)
        left = sorted(set(self._config) - self._known)
        if left:
            raise ValueError(
                f"config field {left[0]} ({self._config[left[0]]!r}) is not known, so it may "
                f"change the model{_more(left)}: if it does not, give ignore={tuple(left)!r}"
            )

    def _take(self, name: str, default: Any) -> Any:
        self._known.add(name)
        if name in self._config:
            return self._config[name]
        if default is REQUIRED:
            raise ValueError(f"config field {name} is missing")
        return default


def num_classes(options: Options) -> int:
    """The number of classes of a config, by their labels or as such."""
    labels = options.value("id2label", None)
    if labels is None:
        return options.whole("num_labels", 2)
    if not isinstance(labels, dict) or not labels:
        raise ValueError(f"config field id2label is {labels!r}: labels by number are needed")
    options.only("num_labels", len(labels))
    return len(labels)


def _more(names: list[str]) -> str:
    return f", and {len(names) - 1} more" if len(names) > 1 else ""
