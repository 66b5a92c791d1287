"""Checkpoints: undamaged ones return bit for bit, damaged and foreign ones do not."""

import gc
import logging
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.training.checkpoints import CheckpointError, Checkpoints, digest
from attn_research.training.step import TrainState

# When one array cannot be read Orbax gives up on the others, whose reads then complain, perhaps
# during the next test, that nobody waits for them.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def leave_no_unfinished_reads():
    """They complain when they end or are collected: here, not during another module's test."""
    gc.freeze()  # what tests before made is not searched, which would take seconds
    yield
    time.sleep(0.1)  # for the reading threads, which nothing waits for
    gc.collect()
    gc.unfreeze()


CONFIG = {"learning_rate": 0.1, "hidden": 6, "data": "grammar"}


def make_state(step):
    params = {"a": jnp.full((2, 3), step / 7), "b": {"c": jnp.arange(5.0) * step}}
    return TrainState(jnp.int32(step), params, (jax.tree.map(jnp.sqrt, params), jnp.int32(step)))


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of steps 2, 4 and 6, of which two are kept."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", CONFIG)
    for step in (2, 4, 6):
        checkpoints.save(step, make_state(step), seconds=0.5 * step, note="kept")
    checkpoints.close()
    return tmp_path / "checkpoints"


def reopen(folder, **changes):
    return Checkpoints(folder, CONFIG | changes)


def test_a_checkpoint_that_a_killed_process_would_have_removed_is_removed(tmp_path):
    before = Checkpoints(tmp_path, CONFIG, keep=3)  # as if killed before it removed one
    for step in (2, 4, 6):
        before.save(step, make_state(step))
    before.close()
    assert Checkpoints(tmp_path, CONFIG, read_only=True).steps() == [2, 4, 6]
    assert Checkpoints(tmp_path, CONFIG).steps() == [4, 6]
    assert not (tmp_path / "2").exists()


def damage(folder, step, how):
    """Does to a checkpoint what a failing disk does."""
    arrays = max((folder / str(step) / "tree" / "d").iterdir(), key=lambda p: p.stat().st_size)
    about = folder / str(step) / "about" / "metadata"
    if how == "truncated":
        arrays.write_bytes(arrays.read_bytes()[:-40])
    elif how == "zeroed":
        arrays.write_bytes(bytes(arrays.stat().st_size))
    elif how == "altered":
        about.write_text(about.read_text().replace('"digest": "', '"digest": "0'))
    else:
        about.unlink()


def test_the_newest_checkpoint_is_restored(folder):
    checkpoints = reopen(folder)
    assert checkpoints.steps() == [4, 6]
    for like in (make_state(0), jax.eval_shape(lambda: make_state(0))):
        step, state, about = checkpoints.restore(like)
        assert step == 6
        assert_equal(state, make_state(6))
        assert (about["seconds"], about["note"]) == (3.0, "kept")


def test_an_empty_folder_has_none(tmp_path):
    assert Checkpoints(tmp_path / "new", CONFIG).restore(make_state(0)) is None


def test_read_only_access_does_not_change_a_folder(folder, tmp_path):
    damage(folder, 6, "truncated")
    before = sorted(folder.rglob("*"))
    reader = Checkpoints(folder, CONFIG, read_only=True)
    assert reader.restore(make_state(0))[0] == 4
    reader.close()
    assert sorted(folder.rglob("*")) == before
    absent = Checkpoints(tmp_path / "new", CONFIG, read_only=True)
    assert absent.steps() == [] and absent.restore(make_state(0)) is None
    assert not (tmp_path / "new").exists()


def test_a_step_is_saved_once(folder):
    checkpoints = reopen(folder)
    checkpoints.save(6, make_state(1), seconds=9.0)
    assert_equal(checkpoints.restore(make_state(0))[1], make_state(6))


def test_fields_missing_in_an_older_checkpoint_take_defaults(folder):
    older = Checkpoints(folder, CONFIG | {"new": 0}, {"new": 0})
    assert older.restore(make_state(0))[0] == max(older.steps())
    with pytest.raises(CheckpointError, match=r"\(new=0 there, 1 here\)"):
        Checkpoints(folder, CONFIG | {"new": 1}, {"new": 0}).restore(make_state(0))


def test_another_config_is_refused_with_the_differing_values(folder):
    with pytest.raises(CheckpointError) as caught:
        reopen(folder, hidden=7, seed=1).restore(make_state(0))
    message = str(caught.value)
    assert "hidden=6 there, 7 here, seed=None there, 1 here" in message
    assert "learning_rate" not in message
    assert "\n" not in message


@pytest.mark.parametrize("how", ["truncated", "zeroed", "altered", "missing"])
def test_a_damaged_checkpoint_is_skipped_and_replaced(folder, caplog, how):
    damage(folder, 6, how)
    checkpoints = reopen(folder)
    with caplog.at_level(logging.WARNING, logger="attn_research"):
        step, state, _ = checkpoints.restore(make_state(0))
    assert step == 4
    assert_equal(state, make_state(4))
    (message,) = [r.getMessage() for r in caplog.records if r.name.startswith("attn_research")]
    assert str(folder / "6") in message
    assert "\n" not in message
    # The run goes on from step 4, and its next checkpoints take their places.
    for later in (5, 6):
        checkpoints.save(later, make_state(later))
    assert checkpoints.steps() == [5, 6]
    assert_equal(reopen(folder).restore(make_state(0))[1], make_state(6))


def test_the_mean_of_the_last_checkpoints(folder):
    found = reopen(folder).average(make_state(0), 2, lambda state: state)
    expected = jax.tree.map(lambda a, b: (a + b) / 2, make_state(4), make_state(6))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), found, expected)
    with pytest.raises(
        CheckpointError, match=r"holds 2 checkpoints, too few to average 3: save more"
    ):
        reopen(folder).average(make_state(0), 3, lambda state: state)


@pytest.mark.parametrize("kind", ["truncated", "missing"])
def test_a_mean_with_a_damaged_checkpoint_is_refused(folder, kind):
    damage(folder, 4, kind)
    with pytest.raises(CheckpointError, match=r"4 is damaged .*: average fewer"):
        reopen(folder).average(make_state(0), 2, lambda state: state)


def test_nothing_is_removed_if_all_checkpoints_are_damaged(folder):
    damage(folder, 4, "truncated")
    damage(folder, 6, "missing")
    checkpoints = reopen(folder)
    with pytest.raises(CheckpointError, match=r"every checkpoint in .* is damaged: remove"):
        checkpoints.restore(make_state(0))
    assert checkpoints.steps() == [4, 6]


def test_a_folder_that_cannot_be_written_gives_a_one_line_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"^cannot write checkpoints to .*file.*--run_dir$"):
        Checkpoints(tmp_path / "file" / "checkpoints", CONFIG)


def test_a_failed_save_gives_a_one_line_error_and_keeps_other_checkpoints(folder, monkeypatch):
    checkpoints = reopen(folder)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints._manager, "save", full)
    with pytest.raises(OSError, match=r"checkpoint of step 8 .*No space left.*--run_dir"):
        checkpoints.save(8, make_state(8))
    assert reopen(folder).restore(make_state(0))[0] == 6


def test_digests_differ_by_values_names_shapes_and_dtypes():
    trees = [
        {"a": np.zeros(4, np.float32)},
        {"b": np.zeros(4, np.float32)},
        {"a": np.zeros((2, 2), np.float32)},
        {"a": np.zeros(4, np.int32)},
        {"a": np.float32([0, 0, 0, -0.0])},
    ]
    assert len({digest(tree) for tree in trees}) == len(trees)
    assert digest(trees[0]) == digest({"a": jnp.zeros(4)})
