"""Comparison of an implementation with the float64 oracle in a case, and its error bounds."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.attention import attend
from attn_research.attention.call import Attended
from attn_research.attention.testing import oracle
from attn_research.attention.testing.cases import Case, CaseInputs, prepare, random_arrays
from attn_research.attention.testing.mechanisms import NORMALIZERS, SCORES

ARITHMETIC = 4e-6  # of float32, whatever the dtype of the operands
# They multiply weights, and the gradients of scores, in the dtype of the operands.
ROUND_WEIGHTS = ("cudnn", "hopper", "pallas", "splash")


class Deviation(NamedTuple):
    """An array beside its exact value, of entries that are sums over so many rows of scores.

    `rounded` counts the terms of an entry that were rounded to the dtype before they were added.
    """

    got: np.ndarray
    exact: Any
    rows: int = 1
    rounded: int = 0

    def bound(self) -> Any:
        """The largest error that each entry may have: one rounding, and float32 arithmetic.

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

    def _errors(self) -> Any:
        return np.abs(np.asarray(self.got, np.float64) - self.exact)

    def _largest(self) -> float:
        return max(1.0, float(np.abs(self.exact).max()))


class Comparison(NamedTuple):
    """Deviations of context, weights and gradients, where there are any; faults at any bound."""

    deviations: dict[str, Deviation]
    faults: list[str]

    def worst(self) -> list[float | None]:
        """Ulps and relative error of context, weights and gradients; the share of the bound."""
        errors: list[float | None] = []
        for kind in ("context", "weights", "gradient"):
            of_kind = [each for name, each in self.deviations.items() if name.startswith(kind)]
            errors.append(max((each.ulps() for each in of_kind), default=None))
            errors.append(max((each.relative() for each in of_kind), default=None))
        return [*errors, max(each.of_bound() for each in self.deviations.values())]

    def wrong(self) -> list[str]:
        """A line for every deviation past its bound, and every fault."""
        shares = {name: each.of_bound() for name, each in self.deviations.items()}
        off = [f"{name} is off by {x:.3g} of its bound" for name, x in shares.items() if not x <= 1]
        return self.faults + off


class Results(NamedTuple):
    """The results of an implementation in a case; gradients by name, none but in training."""

    attended: Attended
    cotangents: Attended | None
    gradients: dict[str, np.ndarray]


def compare(
    implementation: str,
    case: Case,
    transform: Callable[[Callable], Callable] = jax.jit,
    capture: Literal["all"] | None = "all",
) -> Comparison:
    """Runs a case, compiled by `transform`, and compares it with the oracle.

    Raises NotImplementedError where the implementation refuses it.
    """
    inputs = prepare(case, capture)
    results = _run(implementation, case, inputs, transform)
    got, gradients, allowed = results.attended, results.gradients, inputs.allowed
    rounds = implementation in ROUND_WEIGHTS and case.dtype != "float32"
    context, weights, pull = _exact(case, inputs, got)
    deviations = {"context": Deviation(got.context, context, rounded=int(rounds))}
    empty = np.broadcast_to(
        ~allowed.any(-1), (len(got.context), case.sizes[3], *allowed.shape[2:3])
    )
    empty = np.swapaxes(empty, 1, 2)  # [B, T, N]
    zeros = {"context of empty rows": got.context[empty]}
    if capture:
        deviations["weights"] = Deviation(got.weights, weights)
        masked = np.broadcast_to(~allowed, weights.shape)
        zeros["masked weights"] = got.weights[masked]
    if results.cotangents is not None:
        zeros["gradient of empty queries"] = gradients["query"][empty]
        cotangents = (0.0 if c is None else np.asarray(c, np.float64) for c in results.cotangents)
        for name, expected in pull(*cotangents).items():
            rows = _summed_rows(case, name, np.shape(expected))
            terms = _terms(case, name) if rounds else 0
            deviations[f"gradient of {name}"] = Deviation(gradients[name], expected, rows, terms)
    return Comparison(deviations, _faults(case, deviations, zeros))


def _run(implementation: str, case: Case, inputs: CaseInputs, transform: Callable) -> Results:
    rng = np.random.default_rng(1)

    def forward(arrays):
        call = inputs.call(arrays)
        arguments = {f.name: getattr(call, f.name) for f in dataclasses.fields(call)}
        return attend(**arguments, implementation=implementation)

    def forward_and_gradients(arrays):
        got, pull = jax.vjp(forward, arrays)
        cotangents = jax.tree.map(lambda x: random_arrays(rng, x.shape, dtype=x.dtype)[0], got)
        return got, cotangents, *pull(cotangents)

    if case.mode != "train":
        return Results(jax.tree.map(np.asarray, transform(forward)(inputs.arrays)), None, {})
    results = transform(forward_and_gradients)(inputs.arrays)
    return Results(*jax.tree.map(np.asarray, results))


def _exact(case: Case, inputs: CaseInputs, got: Attended) -> tuple:
    """The context, weights and gradient function of the oracle, with the dropout of `got`."""
    factors = 1.0
    if case.dropout:
        factors = np.where(np.swapaxes(got.context, 1, 2) != 0, 1 / (1 - case.dropout), 0.0)
    return oracle.attend(
        **{name: np.asarray(array, np.float64) for name, array in inputs.arrays.items()},
        score=SCORES[case.score].exact,
        per_head=SCORES[case.score].per_head,
        allowed=inputs.allowed,
        deviation=case.sizes[2] / 4,
        factors=factors,
        normalizer=NORMALIZERS[case.normalizer].exact,
    )


def _faults(
    case: Case, deviations: dict[str, Deviation], zeros: dict[str, np.ndarray]
) -> list[str]:
    """A line for every dtype that is wrong, and for all that must be exactly 0 and is not."""
    for name, each in deviations.items():
        if each.got.shape != np.shape(each.exact):
            raise ValueError(f"{name} has shape {each.got.shape}, not {np.shape(each.exact)}")
    dtypes = {name: "float32" if name == "weights" else case.dtype for name in deviations}
    faults = [
        f"{name} is {each.got.dtype}"
        for name, each in deviations.items()
        if each.got.dtype != dtypes[name]
    ]
    return faults + [f"{name} are not exactly 0" for name, array in zeros.items() if np.any(array)]


def _terms(case: Case, name: str) -> int:
    """The number of scores that an entry of the gradient of an array is summed over."""
    B, T, S, N, K, *_ = case.sizes
    return {"query": S, "key": T * N // K, "value": T * N // K}.get(name, B * N * T * S)


def _summed_rows(case: Case, name: str, shape: tuple[int, ...]) -> int:
    """The number of rows of scores that the gradient of an array shared by them is summed over."""
    B, T, _, N, *_ = case.sizes
    if name == "bias":
        return B * N * T // math.prod(shape[:3])
    return B * N * T if name == "parameter" else 1
