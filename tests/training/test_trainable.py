"""Frozen parameters: unchanged, without gradients and optimizer state, in every placement."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attn_research.training.checkpoints import Checkpoints
from attn_research.training.cost import matmul_flops
from attn_research.training.optimizers import make_optimizer
from attn_research.training.placement import make_placement
from attn_research.training.step import Sums, make_gradients, make_state, make_train_step
from attn_research.training.trainable import merge, split

# Large enough that fsdp shards the kernels.
B, IN, HIDDEN, OUT = 16, 72, 64, 80
KEY = jax.random.key(3)
PLACEMENTS = [
    ("jit", "", 1),
    ("jit", "", 4),
    ("sharded", "data=4", 1),
    ("sharded", "fsdp=4,data=1", 2),
    ("sharded", "data=2,fsdp=2,tensor=2", 1),
    ("pmap", "data=4", 2),
]
RULES = (("first/kernel$", (None, "tensor")), ("second/kernel$", ("tensor", None)))


def make_params():
    rng = np.random.default_rng(0)
    sizes = {"first": (IN, HIDDEN), "second": (HIDDEN, HIDDEN), "third": (HIDDEN, OUT)}
    return {
        name: {
            "kernel": jnp.array(rng.normal(size=size) / 8, jnp.float32),
            "bias": jnp.array(rng.normal(size=size[1:]), jnp.float32),
        }
        for name, size in sizes.items()
    }


def make_batches(count=3):
    rng = np.random.default_rng(1)
    for _ in range(count):
        yield {
            "x": np.float32(rng.normal(size=(B, IN))),
            "y": np.float32(rng.normal(size=(B, OUT))),
            "weight": np.float32(rng.random(B)),
        }


def loss(params, batch, key):
    x = batch["x"] * jax.random.bernoulli(key, 0.8, batch["x"].shape)
    for layer in params.values():
        x = jnp.tanh(x @ layer["kernel"] + layer["bias"][None])
    errors = jnp.sum((x - batch["y"]) ** 2, axis=-1)
    return Sums(jnp.sum(errors * batch["weight"]), jnp.sum(batch["weight"]), {"rows": jnp.size(x)})


def last_layer(path):
    return path.startswith("third/")


def second_kernel(path):
    return path == "second/kernel"


def everything(path):
    return True


def nothing(path):
    return False


def train(trainable, optimizer=None, placement=("jit", "", 1), count=3):
    """The gathered state after some steps, and the metrics of the last one."""
    optimizer = optimizer or optax.adam(0.1)
    placed = make_placement(*placement[:2], RULES, num_microbatches=placement[2])
    state = make_state(make_params(), optimizer, trainable=trainable)
    step = placed.compile(loss, optimizer, KEY, state, trainable=trainable)
    state = placed.shard_state(state)
    for batch in make_batches(count):
        state, metrics = step(state, placed.shard_batch(batch))
    return placed.gather(state), metrics


def assert_trees_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_split_and_merge_are_inverse():
    params = make_params()
    for rule in (last_layer, second_kernel, everything, None):
        learned, frozen = split(params, rule)
        assert_trees_equal(merge(learned, frozen), params)
    learned, frozen = split(params, second_kernel)
    none = {"kernel": None, "bias": None}
    assert learned["first"] == learned["third"] == none and learned["second"]["bias"] is None
    assert learned["second"]["kernel"] is params["second"]["kernel"]
    assert frozen["second"]["kernel"] is None
    assert len(jax.tree.leaves(learned)) + len(jax.tree.leaves(frozen)) == 6


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("rule", [last_layer, second_kernel])
def test_frozen_parameters_do_not_change_and_the_others_learn(placement, rule):
    before = make_params()
    after, _ = train(rule, placement=placement)
    for name, kind in itertools.product(before, ("kernel", "bias")):
        same = np.array_equal(after.params[name][kind], before[name][kind])
        assert same != rule(f"{name}/{kind}")


@pytest.mark.parametrize("name", ["adam", "adamw", "muon", "adadelta", "sgd"])
def test_the_optimizer_has_no_state_of_frozen_parameters(name):
    optimizer = make_optimizer(name, 0.1, 1.0, 0.1 if name in ("adamw", "muon") else 0.0)
    learned = split(make_params(), last_layer)[0]
    state = make_state(make_params(), optimizer, trainable=last_layer).optimizer
    assert_trees_equal(jax.tree.leaves(state), jax.tree.leaves(optimizer.init(learned)))
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(state)]
    assert not any("first" in path or "second" in path for path in paths)
    after, _ = train(last_layer, optimizer)
    assert jax.tree.structure(after.optimizer) == jax.tree.structure(state)
    np.testing.assert_array_equal(after.params["first"]["kernel"], make_params()["first"]["kernel"])
    assert not np.array_equal(after.params["third"]["kernel"], make_params()["third"]["kernel"])


def test_trainable_parameters_get_their_full_gradients():
    batch = next(make_batches())
    every, sums = jax.jit(make_gradients(loss))(make_params(), batch, KEY)
    for number in (1, 4):
        gradients = make_gradients(loss, num_microbatches=number, trainable=last_layer)
        found, found_sums = jax.jit(gradients)(make_params(), batch, KEY)
        expected, _ = split(every, last_layer)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found_sums.total, sums.total, rtol=1e-6)


@pytest.mark.parametrize("placement", PLACEMENTS[1:])
def test_every_placement_gives_the_same_update(placement):
    expected, measured = train(last_layer, optax.sgd(0.1))
    found, metrics = train(last_layer, optax.sgd(0.1), placement)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics.gradient_norm, measured.gradient_norm, rtol=1e-5)


def test_early_frozen_layers_have_no_backward_pass():
    batch = next(make_batches())

    def flops(rule):
        return matmul_flops(make_gradients(loss, trainable=rule), make_params(), batch, KEY)

    first, second, third = (
        2 * B * a * b for a, b in ((IN, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, OUT))
    )
    forward = first + second + third
    assert flops(None) == flops(everything) == 2 * forward + second + third
    assert flops(last_layer) == forward + third
    assert flops(second_kernel) == forward + second + third  # kernel of one, inputs of the other


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_rule_matching_everything_equals_no_rule(placement):
    assert_trees_equal(train(everything, placement=placement), train(None, placement=placement))


def test_a_rule_matching_nothing_is_refused():
    message = "the rule nothing makes no parameter trainable.* none of the 6 paths .*first/bias"
    with pytest.raises(ValueError, match=message):
        make_state(make_params(), optax.sgd(0.1), trainable=nothing)
    state = make_state(make_params(), optax.sgd(0.1))
    with pytest.raises(ValueError, match=message):
        make_train_step(loss, optax.sgd(0.1), KEY, trainable=nothing)(state, next(make_batches()))


def test_a_checkpoint_of_partly_trained_parameters_continues(tmp_path):
    optimizer = optax.adam(0.1)
    expected, _ = train(last_layer, optimizer)
    half, _ = train(last_layer, optimizer, count=2)
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save(2, half)
    like = make_state(make_params(), optimizer, trainable=last_layer)
    step, found, _ = checkpoints.restore(like)
    checkpoints.close()
    assert step == 2
    assert_trees_equal(found, half)
    train_step = make_train_step(loss, optimizer, KEY, trainable=last_layer)
    after, _ = train_step(found, list(make_batches())[2])
    assert_trees_equal(after, expected)


@pytest.mark.parametrize("placement", ["jit", "sharded", "pmap"])
def test_the_program_of_a_step_is_lowered_from_shapes(placement):
    placed, optimizer, batch = make_placement(placement), optax.adam(0.1), next(make_batches())

    def program(rule):
        like = jax.eval_shape(lambda: make_state(make_params(), optimizer, trainable=rule))
        return placed.lower(loss, optimizer, KEY, like, batch, trainable=rule).as_text()

    assert len(program(last_layer)) < len(program(None))
