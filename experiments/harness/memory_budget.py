"""What a step needs of a device, known before it runs; and what to change where that is too much.

Bytes are those of the program that XLA compiled for the devices at hand. A CPU's program may need
others than a GPU's of the same step: plan with the devices that will train.
"""

import dataclasses
import logging
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from attn_research.training.collectives import Traffic, collectives
from attn_research.training.placement import check_rows
from experiments.paper import (
    Config,
    Paper,
    make_config_optimizer,
    make_config_placement,
    state_shapes,
    training_loss,
)

_UNITS = {"": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


class Needs(NamedTuple):
    """What the largest step needs: bytes of one device, and what devices send each other."""

    state_bytes: int  # of the state and the batch
    working_bytes: int  # of everything else
    traffic: dict[str, Traffic]

    @property
    def bytes(self) -> int:
        """All of a device's."""
        return self.state_bytes + self.working_bytes


def needs(paper: Paper, config: Config) -> Needs:
    """Compiles the largest step of a config for the devices it names; nothing is allocated."""
    model, optimizer = paper.make_model(config), make_config_optimizer(config)
    placement = make_config_placement(config, model.tensor_rules)
    check_rows(model.batch, placement)
    loss = training_loss(config, model)
    key, shapes = jax.random.key(config.seed), state_shapes(config, model)
    compiled = placement.lower(loss, optimizer, key, shapes, model.batch).compile()
    memory = compiled.memory_analysis()
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Needs(
        memory.argument_size_in_bytes,
        outputs + memory.temp_size_in_bytes,
        collectives(compiled.as_text()),
    )


def check(paper: Paper, config: Config) -> None:
    """ValueError where a step needs more than --max_bytes, with flags that make it fit."""
    if not config.max_bytes:
        return
    limit = parse_bytes(config.max_bytes)
    needed = needs(paper, config).bytes
    logging.info("a step needs %s of a device", show_bytes(needed))
    if needed <= limit:
        return
    too_much = f"--max_bytes={config.max_bytes}: a step needs {show_bytes(needed)} of a device"
    least = needed
    for change in _changes(config):
        try:
            found = needs(paper, dataclasses.replace(config, **change)).bytes
        except ValueError:  # the rows of a batch cannot be shared by so many parts
            continue
        words = " ".join(f"--{name}={value}" for name, value in change.items())
        logging.info("with %s it needs %s", words, show_bytes(found))
        if found <= limit:
            raise ValueError(f"{too_much}; {words} needs {show_bytes(found)}, and gives the same")
        least = min(least, found)
    raise ValueError(
        f"{too_much}, and at least {show_bytes(least)} with --remat and --parts: make the batch "
        "smaller, or share it by --placement=sharded"
    )


def _changes(config: Config) -> Iterator[dict[str, Any]]:
    """Ways to the same step with less memory, those that cost the least time first."""
    order = ["none", "products", "all"]
    for remat in order[order.index(config.remat) + 1 :]:
        yield {"remat": remat}
    for times in (2, 4, 8):
        parts = {"parts": config.parts * times}
        yield parts
        if config.remat != "all":
            yield {"remat": "all", **parts}


def parse_bytes(text: str) -> int:
    """A number of bytes from text as 800MB or 1.5GiB; ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if not found or found[2].upper() not in _UNITS:
        raise ValueError(f"--max_bytes={text}: a number of bytes, as 800MB or 1.5GiB")
    return round(float(found[1]) * _UNITS[found[2].upper()])


def show_bytes(count: int) -> str:
    """A number of bytes to be read."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:,.3g} GiB"
