"""Programs with a backward pass of their own: every derivative is that of the plain program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.derivatives import first_order_only, with_backward
from tests.comparison import assert_trees_close

OPERANDS = {"a": jnp.arange(3.0), "b": jnp.array([2.0, 1.0, 0.5])}
CONSTANT = jnp.arange(1, 4)
TANGENTS = jax.tree.map(lambda x: jnp.cos(x) + 0.3, OPERANDS)


def plain(operands, constant):
    product = jnp.sin(operands["a"]) * operands["b"] * constant.astype(jnp.float32)
    return {"product": product, "sum": operands["a"].sum()}


@pytest.fixture(params=["outputs", "more"])
def fast(request):
    """The program that saves its outputs, or more, and the names of the passes that were traced."""
    traced = []

    def forward(operands, constant):
        traced.append("forward")
        return plain(operands, constant)

    def forward_saving(operands, constant):
        outputs = forward(operands, constant)
        # What JAX would differentiate here is not the program.
        return jax.lax.stop_gradient(outputs), {"a": operands["a"], "constant": constant}

    def backward(operands, constant, saved, cotangents):
        traced.append("backward")
        weight = constant.astype(jnp.float32) * cotangents["product"]
        return {
            "a": jnp.cos(operands["a"]) * operands["b"] * weight + cotangents["sum"],
            "b": jnp.sin(operands["a"]) * weight,
        }

    saving = forward_saving if request.param == "more" else None
    return with_backward(plain, forward, backward, saving), traced


def loss(program):
    def of_operands(operands):
        found = program(operands, CONSTANT)
        return (found["product"] ** 2).sum() + found["sum"] ** 3

    return of_operands


def of_shared(program):
    """A batch of `a`, whose elements share `b`."""

    def mapped(operands):
        batch = jnp.stack([operands["a"], 2 * operands["a"]])
        return jax.vmap(lambda a: loss(program)({"a": a, "b": operands["b"]}))(batch).sum()

    return mapped


DERIVATIVES = {
    "grad": lambda p: jax.grad(loss(p))(OPERANDS),
    "jvp": lambda p: jax.jvp(loss(p), (OPERANDS,), (TANGENTS,)),
    "linearize": lambda p: jax.linearize(loss(p), OPERANDS)[1](TANGENTS),
    "Hessian-vector product": lambda p: jax.jvp(jax.grad(loss(p)), (OPERANDS,), (TANGENTS,)),
    "hessian": lambda p: jax.hessian(loss(p))(OPERANDS),
    "reverse over reverse": lambda p: jax.jacrev(jax.jacrev(loss(p)))(OPERANDS),
    "third order": lambda p: jax.jacrev(jax.jacfwd(jax.jacrev(loss(p))))(OPERANDS),
    "grad of vmap": lambda p: jax.grad(of_shared(p))(OPERANDS),
    "checkpoint": lambda p: jax.jit(jax.grad(jax.checkpoint(loss(p))))(OPERANDS),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_are_those_of_the_plain_program(fast, name):
    program, _ = fast
    assert_trees_close(DERIVATIVES[name](program), DERIVATIVES[name](plain), rtol=1e-5)


def test_first_order_gradients_run_the_backward_pass_given(fast):
    program, traced = fast
    jax.grad(loss(program))(OPERANDS)
    assert traced == ["forward", "backward"]


def test_devices_of_a_shard_map_add_up_the_gradient_of_what_they_share(fast):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:3]), ("data",))
    spec = jax.sharding.PartitionSpec

    def total(program):
        def of_device(a, b, constant):
            found = program({"a": a, "b": b}, constant)
            return jax.lax.psum((found["product"] ** 2).sum(), "data")

        specs = spec("data"), spec(), spec("data")
        mapped = jax.shard_map(of_device, mesh=mesh, in_specs=specs, out_specs=spec())
        return lambda operands: mapped(operands["a"], operands["b"], CONSTANT)

    operands = {"a": OPERANDS["a"], "b": jnp.ones(1)}
    program, _ = fast
    found, expected = (jax.grad(total(each))(operands) for each in (program, plain))
    assert_trees_close(found, expected, rtol=1e-5)


def test_programs_with_gradients_alone_refuse_other_derivatives():
    program = first_order_only(plain, "kernels have gradients alone")
    assert_trees_close(jax.grad(loss(program))(OPERANDS), jax.grad(loss(plain))(OPERANDS))
    for name in ("jvp", "linearize", "Hessian-vector product", "reverse over reverse"):
        with pytest.raises(NotImplementedError, match="kernels have gradients alone"):
            DERIVATIVES[name](program)
