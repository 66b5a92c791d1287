"""Rematerialization: activations computed again in the backward pass instead of stored."""

from collections.abc import Callable
from typing import Any, Literal

import jax
from flax import linen as nn

Remat = Literal["none", "dots", "all"]


def remat(body: Callable[..., Any], policy: Remat) -> Callable[..., Any]:
    """The body of a loop, body(module, ...), with rematerialization. Results are the same.

    "dots" stores the results of matrix products with parameters and computes the rest again; "all"
    stores only what one iteration passes to the next (Chen et al. 2016).
    """
    if policy == "none":
        return body
    policies = jax.checkpoint_policies
    saveable = {
        "dots": policies.dots_with_no_batch_dims_saveable,
        "all": policies.nothing_saveable,
    }[policy]
    # The body of a loop is compiled by itself, so common subexpressions cannot undo this.
    return nn.remat(body, policy=saveable, prevent_cse=False)
