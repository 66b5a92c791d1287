"""Likelihoods and continuations by one network, or by the mean distribution of several."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from attn_research.data.text.rows import Pieces, Stream, ordered_batches
from attn_research.decoding.generation import generate
from attn_research.decoding.sampling import Sampling
from attn_research.layers.decoders import Decoder
from attn_research.training.cores import over_cores
from attn_research.types import Array, Float, PyTree
from experiments.tasks.language_modeling.config import ContinuationConfig

EVAL_TOKENS = 4096  # tokens of a batch of evaluation


def eval_rows(context: int) -> int:
    """Rows of a batch of evaluation."""
    return max(1, EVAL_TOKENS // context)


@dataclasses.dataclass(frozen=True)
class Members:
    """One network, or several as an ensemble, with their parameters and the length of a row."""

    networks: tuple[nn.Module, ...]
    params: tuple[PyTree, ...]
    context: int

    def log_probs(self, stream: Stream, pieces: Pieces, *, packed: bool) -> np.ndarray:
        """The log-probability of every token of a stream that the pieces predict, in nats."""
        found = np.zeros(len(stream))
        rows = eval_rows(self.context)
        for places, batch in ordered_batches(stream, pieces, rows, self.context, packed=packed):
            of_batch = np.asarray(_log_probs(self.networks)(self.params, batch), np.float64)
            found[places[places >= 0]] = of_batch[places >= 0]
        return found

    def extend(self, prompt: np.ndarray, config: ContinuationConfig, key: jax.Array) -> np.ndarray:
        """The continuation of a prompt: ids after those of the prompt, of which there is one.

        At least half of `context` is before each token, where there is so much. A cache that is
        full is begun anew with that half.
        """
        text, kept, number = prompt.tolist(), max(1, self.context // 2), 0
        strategy = Sampling(config.temperature, config.top_k, config.top_p)
        while (missing := len(prompt) + config.sample_length - len(text)) > 0:
            last = text[-kept:]
            (found,) = generate(
                Decoder(self.networks),
                self.params,
                [last],
                num_tokens=min(missing, self.context - len(last) + 1),
                strategy=strategy,
                keys=jax.random.fold_in(key, number)[None],
            )
            text, number = [*text, *found.tokens], number + 1
        return np.array(text[len(prompt) : len(prompt) + config.sample_length], np.int32)

    def maps(self, prompt: np.ndarray) -> Float[np.ndarray, "L N T T"]:
        """The attention of every head over the last tokens of a prompt, of the first network."""
        ids = jnp.asarray(prompt[None, -self.context :])
        weights = self.networks[0].apply(self.params[0], ids, capture="all").weights
        return np.asarray(weights)[0]


@functools.cache
def _log_probs(networks: tuple[nn.Module, ...]) -> Callable[..., Float[Array, "B T"]]:
    def log_probs(params, batch):
        targets = jnp.maximum(batch["targets"], 0)[..., None]

        def of_one(network, params):
            logits = network.apply(params, batch["ids"], segments=batch.get("segments")).logits
            wide = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
            return jnp.take_along_axis(wide, targets, axis=-1)[..., 0]

        each = jnp.stack([of_one(*pair) for pair in zip(networks, params, strict=True)])
        return jax.nn.logsumexp(each, axis=0) - jnp.log(len(networks))

    return over_cores(log_probs)
