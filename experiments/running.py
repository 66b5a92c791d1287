"""One row of a table: trained, or made of trained ones; evaluated; kept as a result file."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from attn_research.data.files import write_whole
from attn_research.training.checkpoints import Checkpoints
from attn_research.training.loop import Hook, fit
from attn_research.training.metrics import MetricsLog
from attn_research.training.placement import check_rows
from attn_research.training.step import make_eval_step, make_state
from attn_research.types import PyTree
from experiments.paper import (
    Experiment,
    Paper,
    command,
    identify,
    make_config_optimizer,
    make_config_placement,
    resolve,
    step_flops,
    training_loss,
)
from experiments.reporting import environment


def run_row(
    paper: Paper,
    row: str,
    config: Any,
    *,
    given: dict[str, Any] | None = None,
    run_dir: Path,
    results_dir: Path,
    resume: bool,
    progress: bool = True,
) -> Path:
    """Trains and evaluates one row; returns its result file, which is written last.

    A finished row is not run again. A run folder that holds checkpoints is continued with `resume`
    and refused without. The members of an ensemble are the rows it names, with the flags `given`.
    """
    name = f"{row}.seed{config.seed}"
    result_file = results_dir / f"{name}.json"
    if _is_finished(paper, result_file, identify(config)):
        logging.info("%s is finished: %s", name, result_file)
        return result_file
    for needed in (run_dir / name, results_dir):
        try:
            needed.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"cannot write to {needed} ({error.strerror}): name another --run_dir"
            ) from error
    if paper.rows[row].members:
        found = _ensemble(paper, row, config, given or {}, run_dir, results_dir / name)
    else:
        found = _train(
            paper.build(config), config, run_dir / name, results_dir / name, resume, progress
        )
    result = {
        "experiment": paper.name,
        "row": row,
        "command": command(paper, row, config),
        "config": identify(config),
        **found,
        "environment": environment(),
    }
    write_whole(result_file, json.dumps(result, indent=1, ensure_ascii=False).encode())
    return result_file


def _is_finished(paper: Paper, result_file: Path, identity: dict[str, Any]) -> bool:
    if not result_file.exists():
        return False
    # A knob that did not exist when the result was made had the value it has by default.
    kept = identify(paper.config()) | json.loads(result_file.read_text())["config"]
    if kept != identity:
        raise ValueError(
            f"{result_file} holds this row of another configuration: "
            "give the same flags, or another --results_dir"
        )
    return True


def _train(
    experiment: Experiment,
    config: Any,
    folder: Path,
    predictions: Path,
    resume: bool,
    progress: bool,
) -> dict[str, Any]:
    """Trains to the end and evaluates the parameters of least development loss."""
    model, identity = experiment.model, identify(config)
    optimizer, loss = make_config_optimizer(config), training_loss(config, model)
    placement = make_config_placement(config, model.tensor_rules)
    check_rows(model.batch, placement)
    checkpoints = Checkpoints(folder / "checkpoints", identity, keep=max(2, config.average))
    best = Checkpoints(folder / "best", identity, keep=1)
    if checkpoints.steps() and not resume:
        raise ValueError(
            f"{folder} holds a run of {checkpoints.steps()[-1]} steps: "
            "--resume continues it; to start again, remove it or name another --run_dir"
        )
    key = jax.random.key(config.seed)
    shapes = jax.eval_shape(lambda: make_state(model.init(key), optimizer))
    found = checkpoints.restore(shapes)
    seconds = 0.0
    if found is None:
        state = jax.jit(lambda: make_state(model.init(key), optimizer))()
    else:
        state, seconds = found[1], found[2]["seconds"]
        logging.info("%s continues from step %d", folder.name, found[0])
    write_whole(folder / "config.json", json.dumps(identity, indent=2).encode())
    start, began = int(state.step), time.perf_counter()
    state = placement.lay_out(state)
    log = MetricsLog(folder, start=start, num_steps=config.num_steps, progress=progress)
    eval_step = make_eval_step(model.eval_loss)

    kept = best.restore(shapes.params)
    best_loss = float("inf") if kept is None else kept[2]["dev_loss"]

    def evaluate(step, state):
        nonlocal best_loss
        if step == 0:
            return
        with log.paused():
            params = placement.whole(state.params)
            values = mean_loss(eval_step, params, experiment.dev_batches())
            log.record(step, {f"dev_{name}": value for name, value in values.items()})
            if values["loss"] < best_loss:
                best_loss = values["loss"]
                best.save(step, params, dev_loss=best_loss, dev_nll=values["nll"])

    def save(step, state):
        log.flush(step)
        with log.paused():
            now = seconds + time.perf_counter() - began
            checkpoints.save(step, placement.whole(state), seconds=now)

    step = placement.compile(loss, optimizer, key, shapes)
    try:
        state = fit(
            step,
            state,
            map(placement.put, experiment.batches(start, placement.rows)),
            num_steps=config.num_steps,
            writer=log,
            hooks=[Hook(config.eval_every, evaluate), Hook(config.save_every, save)],
        )
    finally:
        log.close()
    seconds += time.perf_counter() - began
    kept = best.restore(shapes.params)
    if kept is None:
        raise ArithmeticError("the development loss was never finite: lower --learning_rate")
    best_step, params, about = kept
    if config.average:
        params = checkpoints.mean(shapes, config.average, lambda tree: tree.params)
        values = mean_loss(eval_step, params, experiment.dev_batches())
        about = {f"dev_{name}": value for name, value in values.items()}
    scores = experiment.evaluate(params, predictions)
    checkpoints.close()
    best.close()
    return {
        "updates": config.num_steps,
        "training_flops": config.num_steps * step_flops(config, model),
        "epochs": config.num_steps / experiment.steps_per_epoch,
        "seconds": seconds,
        "best_step": best_step,
        "train_nll": mean_loss(eval_step, params, experiment.train_sample())["nll"],
        "dev_nll": about["dev_nll"],
        "dev_loss": about["dev_loss"],
        "learning": _learning_curve(folder / "metrics.jsonl"),
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
        "scores": scores,
        "about": experiment.about,
    }


def _learning_curve(path: Path) -> list[list[float]]:
    """(step, development loss) of every evaluation."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [[line["step"], line["dev_loss"]] for line in lines if "dev_loss" in line]


def _ensemble(
    paper: Paper, row: str, config: Any, given: dict[str, Any], run_dir: Path, predictions: Path
) -> dict[str, Any]:
    """Evaluates the best parameters of the rows an ensemble names, together."""
    members = []
    for name in paper.rows[row].members:
        member = resolve(paper, name, given | {"seed": config.seed})
        folder = run_dir / f"{name}.seed{config.seed}"
        model = paper.build(member).model
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        best = Checkpoints(folder / "best", identify(member))
        kept = best.restore(shapes)
        best.close()
        if kept is None:
            raise ValueError(f"--row={row} needs the trained row {name} in {folder}: run it first")
        members.append((member, kept[1]))
    began = time.perf_counter()
    scores = paper.evaluate_ensemble(members, predictions)
    return {
        "members": list(paper.rows[row].members),
        "seconds": time.perf_counter() - began,
        "parameters": sum(x.size for _, params in members for x in jax.tree.leaves(params)),
        "scores": scores,
        "about": paper.build(members[0][0]).about,
    }


def mean_loss(eval_step, params: PyTree, batches: Iterator[PyTree]) -> dict[str, float]:
    """The loss per unit of weight, and the NLL per sentence, over all batches."""
    total = weight = sentences = 0.0
    for batch in batches:
        sums = eval_step(params, batch)
        total, weight = total + float(sums.total), weight + float(sums.weight)
        sentences += float(sums.counts["examples"])
    return {"loss": total / weight, "nll": total / sentences}
