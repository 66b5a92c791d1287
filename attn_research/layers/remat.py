"""What a loop over layers or words forgets, to compute it again for the gradient."""

from collections.abc import Callable
from typing import Any, Literal

import jax
from flax import linen as nn

Remat = Literal["none", "products", "all"]


def remat(body: Callable[..., Any], what: Remat) -> Callable[..., Any]:
    """body(module, ...) for a loop, that keeps less between its forward and backward pass.

    "products" keeps the results of matrix products with parameters and forgets the rest; "all"
    keeps what one turn hands to the next alone (Chen et al. 2016). Results are the same.
    """
    if what == "none":
        return body
    policies = jax.checkpoint_policies
    policy = {
        "products": policies.dots_with_no_batch_dims_saveable,
        "all": policies.nothing_saveable,
    }[what]
    # A loop's body is compiled by itself: nothing outside could make its forward pass stay.
    return nn.remat(body, policy=policy, prevent_cse=False)
