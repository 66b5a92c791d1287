"""Orbax checkpoints, each with the config of its run and a digest of its content."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.options import MultiprocessingOptions

from attn_research.types import PyTree


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message gives the reason and the way out."""


class Checkpoints:
    """The checkpoints of one run: pytrees of arrays by step, the newest `keep` of them.

    `config` identifies the run: a checkpoint of another config is refused, but one in which the
    numbers named by `grows` are smaller. An older checkpoint may lack fields, whose values are then
    those of `defaults`. Orbax writes under a temporary name and renames, so a killed run leaves no
    partial checkpoint. A checkpoint damaged later fails its digest, and the one before it is used.
    `read_only` leaves the folder as it is, or absent.
    """

    def __init__(
        self,
        folder: str | Path,
        config: dict,
        defaults: dict | None = None,
        *,
        keep: int = 2,
        grows: Sequence[str] = (),
        read_only: bool = False,
    ):
        self._folder, self._config, self._grows = Path(folder).absolute(), config, grows
        self._defaults, self._read_only = defaults or {}, read_only
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep,
            read_only=read_only,
            enable_async_checkpointing=False,
            create=False,  # Orbax would make all processes wait for it
            multiprocessing_options=_this_process_alone(),
        )
        try:
            if not read_only:
                self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"cannot write checkpoints to {folder} ({error.strerror}); name another --run_dir"
            ) from error
        try:
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        except Exception as error:  # of many kinds: Orbax reads the times of all checkpoints here
            raise CheckpointError(
                f"the checkpoints in {folder} cannot be listed ({_reason(error)}): remove its "
                "files */_CHECKPOINT_METADATA, which hold times alone, or name another --run_dir"
            ) from error
        if not read_only:
            for step in self.steps()[:-keep]:  # which a process killed while saving would have
                self._manager.delete(step)

    def steps(self) -> list[int]:
        """The steps with a checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def trained_steps(self) -> list[int]:
        """The steps with a checkpoint but 0, oldest first."""
        return [step for step in self.steps() if step]

    def delete(self, step: int) -> None:
        """Removes a checkpoint."""
        self._manager.delete(step)

    def save(self, step: int, tree: PyTree, **about: float | int | str) -> None:
        """Saves a pytree of arrays under `step`, unless that step is saved already."""
        if step in self._manager.all_steps():
            return
        tree = jax.tree.map(np.asarray, tree)  # with several processes Orbax takes no device arrays
        about |= {"config": self._config}
        about["digest"] = f"{digest(tree)}.{_digest_json(about)}"
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    tree=ocp.args.StandardSave(tree), about=ocp.args.JsonSave(about)
                ),
            )
            self._manager.wait_until_finished()
        except (OSError, ValueError) as error:
            raise OSError(
                f"cannot write the checkpoint of step {step} to {self._folder} ({error}); free "
                "space there or name another --run_dir; the checkpoints before it are whole"
            ) from error

    def restore(self, like: PyTree) -> tuple[int, PyTree, dict] | None:
        """The newest undamaged checkpoint: (step, tree, about), or None if there is none at all.

        `like` gives the structure, shapes and dtypes, as arrays or `jax.ShapeDtypeStruct`. Raises
        CheckpointError for a checkpoint of another config, or when every one is damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                about = self._about(step)
            except Exception as error:
                _warn_damaged(self._folder / str(step), error)
                continue
            self._check_config(step, about["config"])
            try:
                tree = self._read(step, like, about["digest"])
            except Exception as error:  # Orbax and TensorStore raise many kinds for damaged files
                _warn_damaged(self._folder / str(step), error)
                continue
            if not self._read_only:
                for damaged in steps[steps.index(step) + 1 :]:
                    # Orbax ignores saves at or before a step that it has.
                    self._manager.delete(damaged)
            return step, tree, about
        if steps:
            raise CheckpointError(
                f"every checkpoint in {self._folder} is damaged: remove the folder and start again"
            )
        return None

    def average(self, like: PyTree, count: int, select: Callable[[PyTree], PyTree]) -> PyTree:
        """Checkpoint averaging (Vaswani et al. 2017, section 6.1) of the newest `count`.

        What `select` takes from each tree is averaged; step 0 is untrained and never counts. Raises
        CheckpointError where there are fewer checkpoints, or one is damaged.
        """
        steps = self.trained_steps()[-count:]
        if len(steps) < count:
            raise CheckpointError(
                f"{self._folder} holds {len(steps)} checkpoints, too few to average {count}: "
                "save more often, or average fewer"
            )
        total = None
        for step in steps:
            try:
                one = select(self._read(step, like, self._about(step)["digest"]))
            except Exception as error:
                raise CheckpointError(
                    f"the checkpoint {self._folder / str(step)} is damaged ({_reason(error)}): "
                    "average fewer, or train again"
                ) from error
            total = one if total is None else jax.tree.map(np.add, total, one)
        return jax.tree.map(lambda x: (x / count).astype(x.dtype), total)

    def close(self) -> None:
        """Closes the manager, after what it is writing is finished."""
        self._manager.close()

    def _about(self, step: int) -> dict:
        """What is kept beside the tree of a step; `digest` is then that of the tree alone.

        Checkpoints of earlier versions have no digest of the rest.
        """
        wanted = ocp.args.Composite(about=ocp.args.JsonRestore())
        about = self._manager.restore(step, args=wanted).about
        of_tree, _, of_rest = about.pop("digest").partition(".")
        if of_rest and of_rest != _digest_json(about):
            raise ValueError("what is kept about it does not match its digest")
        return {**about, "config": dict(about["config"]), "digest": of_tree}

    def _read(self, step: int, like: PyTree, expected: str) -> PyTree:
        wanted = ocp.args.Composite(tree=ocp.args.StandardRestore(like))
        tree = self._manager.restore(step, args=wanted).tree
        if digest(tree) != expected:
            raise ValueError("its content does not match its digest")
        return jax.tree.map(jnp.asarray, tree)

    def _check_config(self, step: int, saved: dict) -> None:
        saved = self._defaults | saved
        names = sorted(
            name
            for name in saved.keys() | self._config.keys()
            if saved.get(name) != self._config.get(name)
            and not (name in self._grows and saved.get(name, 0) < self._config.get(name, 0))
        )
        if names:
            changes = ", ".join(
                f"{n}={saved.get(n)} there, {self._config.get(n)} here" for n in names
            )
            raise CheckpointError(
                f"the checkpoint of step {step} in {self._folder} is of another configuration "
                f"({changes}): give the same flags, or another --run_dir"
            )


def _this_process_alone() -> MultiprocessingOptions:
    """Options for reads and writes by this process alone, so that Orbax waits for no other."""
    if jax.process_count() == 1:
        return MultiprocessingOptions()
    me = jax.process_index()
    return MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )


def digest(tree: PyTree) -> str:
    """SHA-256 of the arrays of a pytree with their paths, shapes and dtypes."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)}{array.shape}{array.dtype}".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def _digest_json(value: dict) -> str:
    """SHA-256 of a value as JSON keeps it."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _reason(error: Exception) -> str:
    """The start of an error's message, on one line; its kind where it has none."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _warn_damaged(folder: Path, error: Exception) -> None:
    logging.getLogger(__name__).warning(
        "the checkpoint %s is damaged (%s): the one before it is used", folder, _reason(error)
    )
