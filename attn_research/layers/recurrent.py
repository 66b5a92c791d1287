"""Recurrent units and the loops that run them over time."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.types import Array, Bool, Float

normal = nn.initializers.normal


def orthogonal_blocks(num_blocks: int) -> nn.initializers.Initializer:
    """Random orthogonal [D, D] matrices side by side: [D, num_blocks * D]."""

    def init(key, shape, dtype=jnp.float32):
        size = shape[0]
        keys = jax.random.split(key, num_blocks)
        blocks = [nn.initializers.orthogonal()(k, (size, size), dtype) for k in keys]
        return jnp.concatenate(blocks, axis=1)

    return init


class GatedUnit(nn.Module):
    """The gated recurrent unit of 2014, whose reset gate acts before the matrix product.

        z = σ(W_z x + U_z s)   r = σ(W_r x + U_r s)   s̃ = tanh(W x + U (r ∘ s))
        s' = (1 - z) ∘ s + z ∘ s̃

    Bahdanau, Cho, Bengio 2014, appendix A.1.1, with biases. `project` computes W x for all three,
    so that a loop over time can do it for every step at once; the call takes what it returns.
    Inputs that come to be known only inside the loop (C c) are added to it.
    """

    features: int
    kernel_init: nn.initializers.Initializer = normal(0.01)

    def setup(self):
        self.inputs = nn.Dense(3 * self.features, kernel_init=self.kernel_init)
        self.gates = nn.Dense(2 * self.features, use_bias=False, kernel_init=orthogonal_blocks(2))
        self.candidate = nn.Dense(self.features, use_bias=False, kernel_init=orthogonal_blocks(1))

    def project(self, inputs: Float[Array, "*B Din"]) -> Float[Array, "*B Dgates"]:
        """W_z x, W_r x and W x side by side, [*B, 3 * features]."""
        return self.inputs(inputs)

    def __call__(
        self, state: Float[Array, "*B D"], projected: Float[Array, "*B Dgates"]
    ) -> Float[Array, "*B D"]:
        """One step: the next state."""
        to_gates, to_candidate = jnp.split(projected, [2 * self.features], axis=-1)
        update, reset = jnp.split(nn.sigmoid(to_gates + self.gates(state)), 2, axis=-1)
        candidate = jnp.tanh(to_candidate + self.candidate(reset * state))
        return (1 - update) * state + update * candidate


class Recurrence(nn.Module):
    """Runs a gated unit over a sequence, from the last step to the first if `reverse`.

    Where `valid` is false the state stays as it is, so states do not depend on padding.
    """

    features: int
    reverse: bool = False
    kernel_init: nn.initializers.Initializer = normal(0.01)

    def setup(self):
        self.unit = GatedUnit(self.features, self.kernel_init)

    def __call__(
        self, inputs: Float[Array, "B S Din"], valid: Bool[Array, "B S"]
    ) -> Float[Array, "B S D"]:
        """The state after each step."""

        def step(unit, state, now):
            projected, here = now
            state = jnp.where(here[:, None], unit(state, projected), state)
            return state, state

        loop = nn.scan(
            step,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
            reverse=self.reverse,
        )
        initial = jnp.zeros((inputs.shape[0], self.features), inputs.dtype)
        return loop(self.unit, initial, (self.unit.project(inputs), valid))[1]
