"""One row of a table: trained, or made of trained ones; evaluated; kept as a result file."""

import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from attn_research.data.files import write_whole
from attn_research.training import processes
from attn_research.training.checkpoints import Checkpoints
from attn_research.training.loop import Hook, fit
from attn_research.training.placement import check_rows
from attn_research.training.step import make_eval_step, make_state
from attn_research.types import PyTree
from experiments import budget
from experiments.paper import (
    Experiment,
    Model,
    Paper,
    command,
    identify,
    make_config_optimizer,
    make_config_placement,
    resolve,
    run_name,
    state_shapes,
    step_flops,
    training_loss,
)
from experiments.reporting import environment
from experiments.run_folder import RunFolder


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
    Of several processes all train, and the first alone reads and writes files and evaluates.
    """
    name = run_name(row, config.seed)
    result_file, folder = results_dir / f"{name}.json", run_dir / name
    leads = processes.leads()
    finished = leads and _is_finished(paper, result_file, identify(config))
    if processes.from_leader(finished):
        logging.info("%s is finished: %s", name, result_file)
        return result_file
    if paper.rows[row].members:
        processes.part()
        if leads:
            _make_folders(folder, results_dir)
            found = _ensemble(paper, row, config, given or {}, run_dir, results_dir / name)
    else:
        model = paper.make_model(config)
        check_rows(model.batch, make_config_placement(config, model.tensor_rules))
        budget.check(paper, config)
        if config.named_implementation:
            _try_implementation(model, config)
        experiment = _build(paper, config)
        if leads:  # nothing before this has written a thing
            _make_folders(folder, results_dir)
        kept = _train(experiment, config, folder, resume, progress)
        processes.part()
        if leads:
            found = _evaluate(experiment, config, kept, results_dir / name)
    if not leads:
        return result_file
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


def _try_implementation(model: Model, config: Any) -> None:
    """NotImplementedError where the largest step has a look that it cannot compute."""
    params, key = state_shapes(config, model).params, jax.random.key(0)
    jax.eval_shape(training_loss(config, model), params, model.batch, key)


def _build(paper: Paper, config: Any) -> Experiment:
    """The experiment of a row. Evaluation is in float32 always, which kernels of 16 bits are not.

    So where training is in 16 bits, an implementation is named for it alone.
    """
    if config.dtype == "float32":
        return paper.build(config)
    experiment = paper.build(dataclasses.replace(config, implementation="auto"))
    model = dataclasses.replace(experiment.model, loss=paper.make_model(config).loss)
    return dataclasses.replace(experiment, model=model)


def _make_folders(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"cannot write to {folder} ({error.strerror}): name another --run_dir"
            ) from error


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
    experiment: Experiment, config: Any, folder: Path, resume: bool, progress: bool
) -> RunFolder | None:
    """Trains to the end; returns what the run kept, which the leading process alone has."""
    model, key = experiment.model, jax.random.key(config.seed)
    optimizer, loss = make_config_optimizer(config), training_loss(config, model)
    placement = make_config_placement(config, model.tensor_rules)
    shapes = state_shapes(config, model)
    kept = None
    if processes.leads():
        kept = RunFolder(folder, config, shapes, resume=resume, progress=progress)
    state = kept and kept.state
    if state is None:
        state = jax.jit(lambda: make_state(model.init(key), optimizer))()
    state = processes.from_leader(state)
    start = int(state.step)
    state = placement.lay_out(state)
    eval_step = make_eval_step(model.eval_loss)

    def evaluate(step, state):
        if step == 0:
            return
        with kept.log.paused() if kept else contextlib.nullcontext():
            # Every process does it: a message is not waited for as long as this may take.
            params = placement.whole(state.params)
            values = mean_loss(eval_step, params, experiment.dev_batches())
            if kept:
                kept.evaluated(step, params, values)

    def save(step, state):
        state = placement.whole(state)
        if kept:
            kept.save(step, state)

    try:
        fit(
            placement.compile(loss, optimizer, key, shapes),
            state,
            map(placement.put, experiment.batches(start, placement.rows)),
            num_steps=config.num_steps,
            writer=kept and kept.log,
            hooks=[Hook(config.eval_every, evaluate), Hook(config.save_every, save)],
        )
    finally:
        if kept:
            kept.end_training()
    return kept


def _evaluate(
    experiment: Experiment, config: Any, kept: RunFolder, predictions: Path
) -> dict[str, Any]:
    """Evaluates the parameters of least development loss, or the mean of the last ones."""
    eval_step = make_eval_step(experiment.model.eval_loss)
    best_step, params, losses = kept.best()
    if config.average:
        params = kept.mean()
        losses = mean_loss(eval_step, params, experiment.dev_batches())
    scores = experiment.evaluate(params, predictions)
    kept.close()
    return {
        "updates": config.num_steps,
        "training_flops": config.num_steps * step_flops(config, experiment.model),
        "epochs": config.num_steps / experiment.steps_per_epoch,
        "seconds": kept.seconds,
        "best_step": best_step,
        "train_nll": mean_loss(eval_step, params, experiment.train_sample())["nll"],
        "dev_nll": losses["nll"],
        "dev_loss": losses["loss"],
        "learning": kept.learning(),
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
        "scores": scores,
        "about": experiment.about,
    }


def _ensemble(
    paper: Paper, row: str, config: Any, given: dict[str, Any], run_dir: Path, predictions: Path
) -> dict[str, Any]:
    """Evaluates the best parameters of the rows an ensemble names, together."""
    members = []
    for name in paper.rows[row].members:
        member = resolve(paper, name, given | {"seed": config.seed})
        folder = run_dir / run_name(name, config.seed)
        model = paper.build(member).model
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        best = Checkpoints(folder / "best", identify(member), identify(paper.config()))
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
