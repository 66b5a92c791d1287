"""Low-rank adaptation (LoRA) as a transformation of parameters: Hu et al. 2021.

    W = W_0 + (α / r) A B

W_0 [in, out] is frozen; A [in, r] and B [r, out] are trained. B is 0 at first, so that W is W_0.
Adapted parameters are {"params": those of the network, "lora": A and B by the paths of kernels}.
Any network can be adapted, since it is applied to the kernels W and knows of nothing.
"""

import dataclasses
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import ArrayLike

from attn_research.training.mesh import TensorRules
from attn_research.trees import named_leaves
from attn_research.types import Array, Float, Key, PyTree

LORA, MERGED = "lora", "merged"


@dataclasses.dataclass(frozen=True)
class LoRA:
    """Low-rank updates of `rank` and scale `alpha` / `rank` of some kernels.

    `where` is a regular expression of the kernels that are adapted, found in their paths without
    "params/" and "/kernel", as in "attention/(query|value)$". Kernels of stacked layers [L, in,
    out] have an A and a B for each layer.
    """

    rank: int
    alpha: float
    where: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.where)
        except re.error as error:
            raise ValueError(f"where={self.where!r} is no regular expression: {error}") from None

    @property
    def scale(self) -> float:
        """α / r."""
        return self.alpha / self.rank

    def kernels(self, params: PyTree) -> dict[str, Any]:
        """The kernels that are adapted, by path below "params"; ValueError where there are none."""
        leaves = named_leaves(params["params"])
        kernels = [path for path in leaves if path.endswith("kernel")]
        matrices = {path.removesuffix("/kernel"): path for path in kernels}
        found = {
            path: leaves[path]
            for short, path in matrices.items()
            if re.search(self.where, short) and leaves[path].ndim in (2, 3)
        }
        if not found:
            raise ValueError(
                f"no matrix is adapted by {self.where!r}: there are {', '.join(sorted(matrices))}"
            )
        return found

    def init(self, params: PyTree, key: Key[Array, ""]) -> PyTree:
        """Adapted parameters: A is Gaussian of deviation in^-½, B is 0. Section 4.1."""
        if unfit := {LORA, MERGED} & params.keys():
            raise ValueError(f"these parameters are adapted already: they have {min(unfit)!r}")
        found = {}
        for number, (path, kernel) in enumerate(self.kernels(params).items()):
            *stack, inputs, outputs = kernel.shape
            draw = jax.random.normal(jax.random.fold_in(key, number), (*stack, inputs, self.rank))
            found[f"{path}/a"] = draw / math.sqrt(inputs)
            found[f"{path}/b"] = jnp.zeros((*stack, self.rank, outputs))
        return {**params, LORA: traverse_util.unflatten_dict(found, sep="/")}

    def apply(self, params: PyTree) -> PyTree:
        """The parameters of the network, with the kernels W of adapted or merged ones."""
        if LORA not in params:
            return {"params": params["params"]}
        return {"params": self._add(params["params"], params[LORA], self.scale)}

    def merge(self, params: PyTree) -> PyTree:
        """{"params": W instead of W_0, "merged": A and B}, as `unmerge` takes it.

        Inference then costs what it did without adaptation. ValueError where it is merged already.
        """
        if LORA not in params:
            state = "merged already" if MERGED in params else "without A and B"
            raise ValueError(f"these parameters are {state}: adapted ones, with {LORA!r}, merge")
        return {**self.apply(params), MERGED: params[LORA]}

    def unmerge(self, params: PyTree) -> PyTree:
        """The adapted parameters of what `merge` returned, but for rounding."""
        if MERGED not in params:
            raise ValueError("these parameters are not merged: there is nothing to subtract")
        low = params[MERGED]
        return {"params": self._add(params["params"], low, -self.scale), LORA: low}

    def _add(self, params: PyTree, low: PyTree, scale: float) -> PyTree:
        factors, leaves = named_leaves(low), named_leaves(params)
        for path in [path for path in leaves if f"{path}/a" in factors]:
            kernel = leaves[path]
            leaves[path] = kernel + update(factors[f"{path}/a"], factors[f"{path}/b"], scale)
        return traverse_util.unflatten_dict(leaves, sep="/")


def update(
    a: Float[ArrayLike, "*L in r"], b: Float[ArrayLike, "*L r out"], scale: float
) -> Float[Array, "*L in out"]:
    """scale · A B."""
    return scale * jnp.einsum("...ir,...ro->...io", a, b)


@dataclasses.dataclass(frozen=True)
class Adapted:
    """A network that is applied to adapted parameters, in place of the network itself."""

    network: Any
    lora: LoRA

    def init(self, key: Key[Array, ""], *inputs: Any) -> PyTree:
        """Random parameters of the network, and A and B."""
        return self.lora.init(self.network.init(key, *inputs), jax.random.fold_in(key, 1))

    def apply(self, params: PyTree, *inputs: Any, **options: Any) -> Any:
        """The network's `apply`, of adapted or merged parameters."""
        return self.network.apply(self.lora.apply(params), *inputs, **options)

    @property
    def tensor_rules(self) -> TensorRules:
        """The network's rules of tensor parallelism."""
        return getattr(self.network, "tensor_rules", ())
