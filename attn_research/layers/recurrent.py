"""Recurrent units, and the layer that runs one over a sequence.

A unit is called as `unit(state, projected) -> (state, output)`. `unit.project(inputs)` is the part
of a step that needs no state, computed for all steps at once; `unit.start(B)` is the state before
the first step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from attn_research.layers.dense import Dense
from attn_research.layers.steps import scan_steps
from attn_research.types import Array, Bool, Float, PyTree

normal = nn.initializers.normal


def orthogonal_blocks(num_blocks: int) -> nn.initializers.Initializer:
    """Initialization by random orthogonal [D, D] matrices side by side, [D, num_blocks * D]."""

    def init(key, shape, dtype=jnp.float32):
        size = shape[0]
        keys = jax.random.split(key, num_blocks)
        blocks = [nn.initializers.orthogonal()(k, (size, size), dtype) for k in keys]
        return jnp.concatenate(blocks, axis=1)

    return init


def symmetric_uniform(limit: float) -> nn.initializers.Initializer:
    """Initialization uniform on [-limit, limit)."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


class GatedUnit(nn.Module):
    """Gated recurrent unit as of 2014, whose reset gate acts before the matrix product.

        z = σ(W_z x + U_z s)   r = σ(W_r x + U_r s)   s̃ = tanh(W x + U (r ∘ s))
        s' = (1 - z) ∘ s + z ∘ s̃

    Bahdanau, Cho, Bengio 2014, appendix A.1.1, with biases. Inputs that are known only within the
    loop, such as C c, are added to the projected ones. The output is the state.
    """

    features: int
    kernel_init: nn.initializers.Initializer = normal(0.01)

    def setup(self):
        self.inputs = Dense(3 * self.features, kernel_init=self.kernel_init)
        self.gates = Dense(2 * self.features, use_bias=False, kernel_init=orthogonal_blocks(2))
        self.candidate = Dense(self.features, use_bias=False, kernel_init=orthogonal_blocks(1))

    def start(self, batch_size: int) -> Float[Array, "B D"]:
        """The state before the first step: zeros."""
        return jnp.zeros((batch_size, self.features))

    def project(self, inputs: Float[Array, "*B Din"]) -> Float[Array, "*B Dgates"]:
        """W_z x, W_r x and W x side by side, [*B, 3 * features]."""
        return self.inputs(inputs)

    def __call__(
        self, state: Float[Array, "*B D"], projected: Float[Array, "*B Dgates"]
    ) -> tuple[Float[Array, "*B D"], Float[Array, "*B D"]]:
        """State and output of one step."""
        to_gates, to_candidate = jnp.split(projected, [2 * self.features], axis=-1)
        update, reset = jnp.split(nn.sigmoid(to_gates + self.gates(state)), 2, axis=-1)
        candidate = jnp.tanh(to_candidate + self.candidate(reset * state))
        state = (1 - update) * state + update * candidate
        return state, state


class LSTMState(NamedTuple):
    """The state of a long short-term memory between two steps."""

    cell: Float[Array, "*B D"]
    hidden: Float[Array, "*B D"]


class LSTMUnit(nn.Module):
    """Long short-term memory (LSTM) without peepholes.

        i, f, o = σ(W x + U h + b)   g = tanh(W_g x + U_g h + b_g)
        c' = f ∘ c + i ∘ g   h' = o ∘ tanh(c')

    Zaremba, Sutskever, Vinyals 2014, equation 1, as stacked by Luong, Pham, Manning 2015. All
    parameters, also biases, are drawn by `init_with`. The output is h'.
    """

    features: int
    init_with: nn.initializers.Initializer = symmetric_uniform(0.1)

    def setup(self):
        width = 4 * self.features
        self.inputs = Dense(width, kernel_init=self.init_with, bias_init=self.init_with)
        self.gates = Dense(width, use_bias=False, kernel_init=self.init_with)

    def start(self, batch_size: int) -> LSTMState:
        """The state before the first step: zeros."""
        zeros = jnp.zeros((batch_size, self.features))
        return LSTMState(zeros, zeros)

    def project(self, inputs: Float[Array, "*B Din"]) -> Float[Array, "*B Dgates"]:
        """W x + b of the three gates and of g, side by side, [*B, 4 * features]."""
        return self.inputs(inputs)

    def __call__(
        self, state: LSTMState, projected: Float[Array, "*B Dgates"]
    ) -> tuple[LSTMState, Float[Array, "*B D"]]:
        """State and output of one step."""
        total = projected + self.gates(state.hidden)
        gates, new = jnp.split(total, [3 * self.features], axis=-1)
        enter, stay, leave = jnp.split(nn.sigmoid(gates), 3, axis=-1)
        cell = stay * state.cell + enter * jnp.tanh(new)
        hidden = leave * jnp.tanh(cell)
        return LSTMState(cell, hidden), hidden


class Recurrence(nn.Module):
    """A recurrent layer: a unit over a sequence, from the last step to the first if `reverse`.

    Where `valid` is false the state does not change, so neither outputs at words nor the last state
    depend on padding.
    """

    unit: nn.Module
    reverse: bool = False

    def __call__(
        self,
        inputs: Float[Array, "B S Din"],
        valid: Bool[Array, "B S"],
        initial: PyTree | None = None,
    ) -> tuple[Float[Array, "B S D"], PyTree]:
        """The output of each step, and the state after the last valid one."""

        def step(unit, _, state, inputs):
            projected, valid = inputs
            after, output = unit(state, projected)
            valid = valid[:, None]
            return jax.tree.map(lambda new, old: jnp.where(valid, new, old), after, state), output

        projected = self.unit.project(inputs)
        if initial is None:
            initial = self.unit.start(inputs.shape[0])
            initial = jax.tree.map(lambda x: x.astype(projected.dtype), initial)
        steps = projected, valid
        last, outputs = scan_steps(step, self.unit, initial, steps, reverse=self.reverse)
        return outputs, last
