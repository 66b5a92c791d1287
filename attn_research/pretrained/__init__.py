"""Published checkpoints: their containers, and their weights in our parameter trees and back.

network, params = load(folder)
save(other_folder, network, params)
"""

from attn_research.pretrained.checkpoint import Checkpoint, read_checkpoint
from attn_research.pretrained.families import (
    FAMILIES,
    Pretrained,
    from_checkpoint,
    network_of,
    to_checkpoint,
)
from attn_research.pretrained.folders import load, save

__all__ = [
    "FAMILIES",
    "Checkpoint",
    "Pretrained",
    "from_checkpoint",
    "load",
    "network_of",
    "read_checkpoint",
    "save",
    "to_checkpoint",
]
