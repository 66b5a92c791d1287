"""The training step of the peers in PyTorch."""

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from experiments.benchmarks import peers


def prepare(seed: int) -> None:
    """Every CPU core, and the seed of the parameters and of dropout."""
    torch.set_num_threads(os.cpu_count())
    torch.manual_seed(seed)


def training_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[peers.Batch], Tensor]
) -> peers.Step:
    """The step of a model whose mean loss over a batch is `loss`, with its gradient clipped."""
    parameters = list(model.parameters())

    def step(batch: peers.Batch) -> float:
        mean = loss(batch)
        optimizer.zero_grad(set_to_none=True)
        mean.backward()
        clip_grad_norm_(parameters, peers.MAX_NORM)
        optimizer.step()
        return mean.item()

    return step
