"""Inference with classifiers of texts: probabilities or numbers, and weights of attention."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attn_research.data.text.labelled import Labels
from attn_research.layers.contracts import TextClassifier
from attn_research.training.cores import over_cores
from attn_research.types import Array, Float, PyTree

_READ = "ids", "valid", "types"  # of a batch


@dataclasses.dataclass(frozen=True)
class Members:
    """One trained network, or several whose distributions or numbers are averaged."""

    networks: Sequence[TextClassifier]
    params: Sequence[PyTree]
    labels: Labels

    def outputs(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Probabilities of the classes of each example or word, or numbers [B, 1]."""
        return np.asarray(self._outputs(self.params, *map(batch.get, _READ)))

    def weights(self, batch: dict[str, np.ndarray]) -> np.ndarray | None:
        """The rows of attention [B, *heads, T, S] of a single network that attends, else None."""
        if len(self.networks) > 1:
            return None
        found = self._weights(self.params[0], *map(batch.get, _READ))
        return None if found is None else np.asarray(found)

    @functools.cached_property
    def _outputs(self) -> Callable[..., Array]:
        return over_cores(functools.partial(_mean_outputs, tuple(self.networks), self.labels))

    @functools.cached_property
    def _weights(self) -> Callable[..., Any]:
        return over_cores(functools.partial(_weights, self.networks[0]))


def _mean_outputs(networks, labels, params, ids, valid, types) -> Float[Array, "*B V"]:
    found = []
    for network, p in zip(networks, params, strict=True):
        logits = network.apply(p, ids, valid, types=types).logits
        found.append(logits if labels == "numbers" else jax.nn.softmax(logits))
    return jnp.asarray(sum(found) / len(found))


def _weights(network, params, ids, valid, types) -> Float[Array, "B *heads T S"] | None:
    return network.apply(params, ids, valid, types=types, capture="all").weights
