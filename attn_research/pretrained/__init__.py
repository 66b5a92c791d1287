"""Published checkpoints: their containers, and their weights in our parameter trees and back.

network, params = from_checkpoint(read_checkpoint(folder))
checkpoint = to_checkpoint(network, params)
"""

from attn_research.pretrained.checkpoint import Checkpoint, read_checkpoint
from attn_research.pretrained.families import (
    FAMILIES,
    Pretrained,
    from_checkpoint,
    network_of,
    to_checkpoint,
)

__all__ = [
    "FAMILIES",
    "Checkpoint",
    "Pretrained",
    "from_checkpoint",
    "network_of",
    "read_checkpoint",
    "to_checkpoint",
]
