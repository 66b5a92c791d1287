"""Descriptions of runs in their folders, and checks that a run may start or go on there."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.harness.config import Config
from experiments.harness.paper import Paper
from experiments.harness.task import Task, contents

ABOUT, CHECKPOINTS = "run.json", "checkpoints"


def read_about(folder: Path) -> dict[str, Any]:
    """The description of the run in a folder; empty where there is none, or it is damaged.

    The checkpoints have the config as well; what is lost is the comparison of the data.
    """
    path = folder / ABOUT
    if not path.is_file():
        return {}
    try:
        about = json.loads(path.read_bytes())
        return about if isinstance(about["config"], dict) else {}
    except (ValueError, KeyError, TypeError) as error:
        logging.warning("%s is damaged (%s), and written anew", path, error)
        return {}


def saved_steps(folder: Path) -> list[int]:
    """The steps of which a run folder holds checkpoints."""
    found = (folder / CHECKPOINTS).glob("*")
    return sorted(int(path.name) for path in found if path.name.isdecimal())


def check_folder(folder: Path, paper: Paper, config: Config, *, resume: bool) -> None:
    """ValueError where a run of this config may not start or go on in a folder.

    More steps than before continue a run. Nothing is read but what the folder says.
    """
    steps = saved_steps(folder)
    if not steps:
        return
    if not resume:
        raise ValueError(
            f"{folder} holds a run of {steps[-1]} steps: --resume continues it; "
            "to start again, remove it or name another --run_dir"
        )
    about = read_about(folder)
    if not about:
        return  # the checkpoints know their config
    changes = config_changes(paper, config, about["config"])
    if changes.keys() - {"num_steps"} or not is_longer(changes):
        raise ValueError(
            f"{folder} holds a run of other flags ({show_changes(changes)}): give those to "
            "continue it, or name another --run_dir for these"
        )


def planned_steps(before: dict[str, Any], config: Config, start: int) -> list[int]:
    """The numbers of steps, other than this config's, that past learning rates were planned for.

    `before` describes the run that goes on from step `start`. Rates of the schedules cosine and
    halving depend on the number of steps. A run that is given more of them goes on with the rates
    of its new length, so that its end is not that of a run of this length.
    """
    if not before or not start or config.optimizer.schedule not in ("cosine", "halving"):
        return []
    kept, there = before.get("planned_steps", []), before["config"].get("num_steps")
    return kept if there in (None, config.train.num_steps) else [*kept, there]


def config_changes(
    paper: Paper, config: Config, kept: dict[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """The values that differ from those kept, as (there, here), by name.

    A value that did not exist then was the one it has by default.
    """
    there, here = paper.config.identity() | kept, _plain(config.identity())
    return {
        name: (there.get(name), here.get(name))
        for name in sorted(there.keys() | here.keys())
        if _plain(there.get(name)) != here.get(name)
    }


def is_longer(changes: dict[str, tuple[Any, Any]]) -> bool:
    """Whether the number of steps, where it changes, grows."""
    there, here = changes.get("num_steps", (0, 0))
    return here >= there


def show_changes(changes: dict[str, tuple[Any, Any]]) -> str:
    """The changes as text."""
    return ", ".join(
        f"{name}={there} there, {here} here" for name, (there, here) in changes.items()
    )


def check_data(kept: dict[str, Any], task: Task, config: Config, where: Path) -> None:
    """ValueError where a loaded task read something else than what was kept of its run."""
    here = _plain(contents(task))
    both = {name: kept[name] for name in kept if name in here}
    changes = [
        f"{name} {_short(there)} there, {_short(now)} here"
        for name, there, now in _differences(both, {name: here[name] for name in both})
    ]
    if not changes:
        return
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    files = " ".join(
        f"--{field.name}={value}"
        for part, field in config.fields()
        if field.metadata["path"]
        and part is not config.train
        and (value := getattr(part, field.name))
    )
    origin = f" of --data={config.data}" if config.data else ""
    origin += f" {files}" if files else ""
    raise ValueError(
        f"the data{origin} is not what {where} was made from "
        f"({'; '.join(changes[:3])}{more}): restore it, or start again with another --run_dir"
    )


def _plain(value: Any) -> Any:
    """A value as JSON keeps it."""
    return json.loads(json.dumps(value))


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) > 24 else text


def _differences(there: Any, here: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(name, there, here) of the places where two trees of JSON values differ."""
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        there, here = (dict(enumerate(each)) for each in (there, here))
    if isinstance(there, dict) and isinstance(here, dict):
        for key in {**there, **here}:
            yield from _differences(there.get(key), here.get(key), f"{name}/{key}".strip("/"))
    elif there != here:
        yield name, there, here
