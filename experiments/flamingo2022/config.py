"""The config of Flamingo: what its words see, and of what it is made."""

import dataclasses
from typing import Literal

from attn_research.attention import Causal, Window
from experiments.harness.config import setting
from experiments.tasks.networks import StackConfig

# The images that a word may attend to, by their numbers in the text.
MASKS = {"last": Window(0, 0), "all": Causal()}
_SEES = {"sees": tuple(MASKS)}


@dataclasses.dataclass(frozen=True)
class FlamingoConfig(StackConfig):
    """The network; layers, width and heads are those of the language model."""

    sees: Literal["nothing", *MASKS] = setting(
        "last",
        "Images that a word attends to: none, which is the language model alone, the last one "
        "before it, or all before it.",
    )
    numbered: bool = setting(
        False, "An embedding of its number for each image.", needs={"sees": ("all",)}
    )
    num_latents: int = setting(
        16, "Visual tokens of an image, by the resampler; 0: its features.", 0, needs=_SEES
    )
    resampler_layers: int = setting(
        2, "Layers of the resampler.", 1, needs=(_SEES, {"num_latents": ()})
    )
    vision_width: int = setting(16, "Channels of the first of three convolutions.", 16, needs=_SEES)
    overlapping: int = setting(
        3, "Of these, those whose cells overlap, the first ones.", 0, needs=_SEES
    )
    gate_speed: float = setting(
        4.0, "Learning rate of the gates, as a multiple of that of the rest.", 0.0, needs=_SEES
    )
    language_steps: int = setting(
        2500, "Steps that the language model is trained for before it is frozen.", 1, needs=_SEES
    )
    language_learns: Literal["described", "texts"] = setting(
        "described",
        "What it learns: questions and answers most of which tell what is in an image, or those "
        "alone.", needs=(_SEES, {"data": ("scenes", "easy_vqa")}),
    )  # fmt: skip
