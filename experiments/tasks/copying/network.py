"""The decoder that reads sequences of symbols."""

import dataclasses
from typing import Any

from attn_research.layers.embeddings import LearnedPositions
from attn_research.models.gpt import GPT, GPT2_BLOCK
from experiments.harness.config import Config
from experiments.tasks.copying.task import CopyingTask


def make_decoder(config: Config, task: CopyingTask, *data: str, **options: Any) -> GPT:
    """A decoder of the sizes of a config, a `StackConfig`, with learned positions.

    ValueError where the sequences are not those that the table is of.
    """
    model, execution = config.model, config.execution
    if config.task.data not in data:
        named = " or ".join(data)
        raise ValueError(f"--data={config.task.data}: this table is of --data={named}")
    return GPT(
        task.vocab_size,
        **model.sizes(),
        block=dataclasses.replace(GPT2_BLOCK, dropout=model.dropout),
        positions=LearnedPositions(config.task.length),
        implementation=execution.named_implementation,
        remat=execution.remat,
        **options,
    )
