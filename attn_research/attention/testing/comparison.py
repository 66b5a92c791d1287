"""A case of an implementation beside the float64 oracle: how far off, and whether it may be."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention import attend
from attn_research.attention.testing import oracle
from attn_research.attention.testing.cases import SCORES, Case, pose, random_arrays

ARITHMETIC = 4e-6  # of float32, whatever the dtype of the operands
# They multiply weights, and the gradients of scores, in the dtype of the operands.
ROUND_WEIGHTS = ("cudnn", "hopper", "pallas", "splash")


class Compared(NamedTuple):
    """One array and what it must be, of entries that are sums over so many rows of scores.

    `rounded` counts the terms of an entry that were rounded to the dtype before they were added.
    """

    got: np.ndarray
    exact: np.ndarray
    rows: int = 1
    rounded: int = 0

    def bound(self) -> np.ndarray:
        """How far each entry may be off: one rounding to the dtype, and float32 arithmetic.

        That is 4e-6 of the largest entry or of 1, and half an ulp of it for each row summed over.
        Terms that were rounded add two half ulps, times the root of their number as of random ones.
        """
        half_ulp = float(jnp.finfo(self.got.dtype).eps) / 2
        arithmetic = ARITHMETIC + self.rows * float(jnp.finfo(jnp.float32).eps) / 2
        arithmetic += 2 * math.sqrt(self.rounded) * half_ulp
        return half_ulp * np.abs(self.exact) + arithmetic * self._largest()

    def of_bound(self) -> float:
        """The worst error as a share of the bound; above 1, or NaN, it is wrong."""
        return float((self._errors() / self.bound()).max())

    def relative(self) -> float:
        """The worst error, of the largest entry or of 1."""
        return float(self._errors().max() / self._largest())

    def ulps(self) -> float:
        """The worst error in ulps, of the dtype, of the largest entry or of 1."""
        ulp = 2.0 ** math.floor(math.log2(self._largest())) * float(jnp.finfo(self.got.dtype).eps)
        return float(self._errors().max() / ulp)

    def _errors(self) -> np.ndarray:
        return np.abs(np.asarray(self.got, np.float64) - self.exact)

    def _largest(self) -> float:
        return max(1.0, float(np.abs(self.exact).max()))


class Outcome(NamedTuple):
    """Context, weights if captured and gradients if asked for; what is wrong whatever the bound."""

    compared: dict[str, Compared]
    faults: list[str]

    def worst(self) -> list[float | None]:
        """Ulps and relative error of context, weights and gradients; the share of the bound."""
        errors: list[float | None] = []
        for kind in ("context", "weights", "gradient"):
            of_kind = [each for name, each in self.compared.items() if name.startswith(kind)]
            errors.append(max((each.ulps() for each in of_kind), default=None))
            errors.append(max((each.relative() for each in of_kind), default=None))
        return [*errors, max(each.of_bound() for each in self.compared.values())]

    def wrong(self) -> list[str]:
        """A line for everything that must not be."""
        shares = {name: each.of_bound() for name, each in self.compared.items()}
        off = [f"{name} is off by {x:.3g} of its bound" for name, x in shares.items() if not x <= 1]
        return self.faults + off


def examine(
    implementation: str,
    case: Case,
    transform: Callable[[Callable], Callable] = jax.jit,
    capture: Literal["all"] | None = "all",
) -> Outcome:
    """Runs a case, compiled by `transform`, beside the oracle.

    Raises NotImplementedError where the implementation refuses it.
    """
    asked = pose(case, capture)
    rng = np.random.default_rng(1)

    def forward(arrays):
        operands = (arrays[name] for name in ("query", "key", "value"))
        return attend(*operands, **asked.options(arrays), implementation=implementation)

    def forward_and_gradients(arrays):
        got, pull = jax.vjp(forward, arrays)
        cotangents = jax.tree.map(lambda x: random_arrays(rng, x.shape, dtype=x.dtype)[0], got)
        return got, cotangents, *pull(cotangents)

    gradients, cotangents = {}, ()
    if case.mode == "train":
        got, cotangents, gradients = transform(forward_and_gradients)(asked.arrays)
    else:
        got = transform(forward)(asked.arrays)
    got, gradients = jax.tree.map(np.asarray, (got, gradients))

    factors = 1.0
    if case.dropout:
        factors = np.where(np.swapaxes(got.context, 1, 2) != 0, 1 / (1 - case.dropout), 0.0)
    exact = {name: np.asarray(array, np.float64) for name, array in asked.arrays.items()}
    allowed = asked.allowed[:, None]
    context, weights, pull = oracle.attend(
        **exact,
        score=SCORES[case.score].exact,
        allowed=allowed,
        deviation=case.sizes[2] / 4,
        factors=factors,
    )
    rounds = implementation in ROUND_WEIGHTS and case.dtype != "float32"
    compared = {"context": Compared(got.context, context, rounded=int(rounds))}
    zeros = {"context of empty rows": got.context[~asked.allowed.any(-1)]}
    if capture:
        compared["weights"] = Compared(got.weights, weights)
        zeros["masked weights"] = got.weights[np.broadcast_to(~allowed, weights.shape)]
    if case.mode == "train":
        zeros["gradient of empty queries"] = gradients["query"][~asked.allowed.any(-1)]
        d_context, d_weights = (
            0.0 if c is None else np.asarray(c, np.float64)
            for c in (cotangents.context, cotangents.weights)
        )
        for name, expected in pull(d_context, d_weights).items():
            rows = _summed_rows(case, name, exact[name].shape)
            terms = _terms(case, name) if rounds else 0
            compared[f"gradient of {name}"] = Compared(gradients[name], expected, rows, terms)
    for name, each in compared.items():
        if each.got.shape != each.exact.shape:
            raise ValueError(f"{name} has shape {each.got.shape}, not {each.exact.shape}")
    dtypes = {name: "float32" if name == "weights" else case.dtype for name in compared}
    faults = [
        f"{name} is {each.got.dtype}"
        for name, each in compared.items()
        if each.got.dtype != dtypes[name]
    ]
    faults += [f"{name} are not exactly 0" for name, array in zeros.items() if np.any(array)]
    return Outcome(compared, faults)


def _terms(case: Case, name: str) -> int:
    """How many scores an entry of the gradient of an operand, or of a parameter, is summed over."""
    B, T, S, N, K, *_ = case.sizes
    return {"query": S, "key": T * N // K, "value": T * N // K}.get(name, B * N * T * S)


def _summed_rows(case: Case, name: str, shape: tuple[int, ...]) -> int:
    """How many rows of the scores the gradient of an array that they share is summed over."""
    B, T, _, N, *_ = case.sizes
    if name == "bias":
        return B * N * T // math.prod(shape[:3])
    return B * N * T if name == "parameter" else 1
