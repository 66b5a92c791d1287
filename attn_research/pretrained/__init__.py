"""Published checkpoints in the parameter trees of our networks, and back.

network, params = from_checkpoint(Checkpoint(config, tensors))
checkpoint = to_checkpoint(network, params)
"""

from attn_research.pretrained.checkpoint import Checkpoint
from attn_research.pretrained.families import (
    FAMILIES,
    Pretrained,
    from_checkpoint,
    to_checkpoint,
)

__all__ = ["FAMILIES", "Checkpoint", "Pretrained", "from_checkpoint", "to_checkpoint"]
