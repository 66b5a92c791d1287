"""Memory and communication of a step, known before it runs, and flags that make it fit.

Bytes are those of the program that XLA compiled for the devices at hand. A CPU's program may need
others than a GPU's of the same step: plan with the devices that will train.
"""

import logging
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import jax

from attn_research.layers.remat import Remat
from attn_research.training.collectives import Traffic, collectives
from attn_research.training.placement import check_rows
from experiments.harness.config import Config
from experiments.harness.program import Program, make_program

_UNITS = {"": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


class Needs(NamedTuple):
    """Bytes that the largest step needs of one device, and what devices send each other."""

    state_bytes: int  # of the state and the batch
    working_bytes: int  # of everything else
    traffic: dict[str, Traffic]

    @property
    def bytes(self) -> int:
        """All bytes of a device."""
        return self.state_bytes + self.working_bytes


def needs(program: Program) -> Needs:
    """Compiles the largest step for the devices that the config names; nothing is allocated."""
    check_rows(program.task.batch_spec(), program.placement)
    compiled = program.lower(jax.random.key(program.config.train.seed)).compile()
    memory = compiled.memory_analysis()
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Needs(
        memory.argument_size_in_bytes,
        outputs + memory.temp_size_in_bytes,
        collectives(compiled.as_text()),
    )


def check(program: Program) -> None:
    """ValueError where a step needs more than --max_bytes, with flags that make it fit."""
    config = program.config
    text = config.execution.max_bytes
    if not text:
        return
    limit = parse_bytes(text)
    needed = needs(program).bytes
    logging.info("a step needs %s of a device", show_bytes(needed))
    if needed <= limit:
        return
    too_much = f"--max_bytes={text}: a step needs {show_bytes(needed)} of a device"
    least = needed
    for change in _changes(config):
        try:
            found = needs(make_program(program.paper, config.replace(**change))).bytes
        except ValueError:  # the rows of a batch cannot be split into so many microbatches
            continue
        words = " ".join(f"--{name}={value}" for name, value in change.items())
        logging.info("with %s it needs %s", words, show_bytes(found))
        if found <= limit:
            raise ValueError(f"{too_much}; {words} needs {show_bytes(found)}, and gives the same")
        least = min(least, found)
    raise ValueError(
        f"{too_much}, and at least {show_bytes(least)} with --remat and --num_microbatches: make "
        "the batch smaller, or share it by --placement=sharded"
    )


def _changes(config: Config) -> Iterator[dict[str, Any]]:
    """Changes that save memory and keep the result, those that cost the least time first."""
    order, part = get_args(Remat), config.execution
    for remat in order[order.index(part.remat) + 1 :]:
        yield {"remat": remat}
    for factor in (2, 4, 8):
        more = {"num_microbatches": part.num_microbatches * factor}
        yield more
        if part.remat != "all":
            yield {"remat": "all", **more}


def parse_bytes(text: str) -> int:
    """A number of bytes from text such as 800MB or 1.5GiB; ValueError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if not found or found[2].upper() not in _UNITS:
        raise ValueError(f"--max_bytes={text}: a number of bytes, as 800MB or 1.5GiB")
    return round(float(found[1]) * _UNITS[found[2].upper()])


def show_bytes(count: float) -> str:
    """A number of bytes in a unit that is easy to read."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:,.3g} GiB"
