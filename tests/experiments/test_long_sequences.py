"""The papers on long sequences: their masks, and a row of each at tiny scale."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.attention import ByHead, Causal
from attn_research.layers.lsh import LSHAttention
from attn_research.layers.routing import RoutingAttention
from attn_research.trees import named_leaves
from experiments.bigbird2020.paper import PAPER as BIGBIRD
from experiments.bigbird2020.paper import make_mask
from experiments.bigbird2020.tables import keys_of
from experiments.harness.paper import resolve
from experiments.harness.results import orderings
from experiments.harness.verify import verify
from experiments.longformer2020 import paper as longformer
from experiments.longformer2020.documents.paper import PAPER as DOCUMENTS
from experiments.longformer2020.documents.paper import carry
from experiments.longformer2020.reach import paper as reach
from experiments.longformer2020.reach.tables import reach_of
from experiments.lra2020.paper import PAPER as ARENA
from experiments.lra2020.paper import make_attention
from experiments.papers import find
from tests.experiments.runs import run

PAPERS = BIGBIRD, longformer.PAPER, DOCUMENTS, reach.PAPER, ARENA
SIZES = dict(num_layers=1, model_dim=4, mlp_dim=8, num_heads=2)


def dense(mask, length):
    q_pos = jnp.arange(length).reshape(1, -1, 1)
    return np.asarray(jnp.broadcast_to(mask(q_pos, q_pos.reshape(1, 1, -1)), (1, length, length)))


@pytest.mark.parametrize("row", BIGBIRD.rows)
def test_keys_of_a_query_in_the_middle(row):
    config = resolve(BIGBIRD, row, {"context": 160, "block": 8, "num_heads": 1, "data": "grammar"})
    allowed = dense(make_mask(config.model, 160).of_head(0), 160)[0]
    assert allowed[80].sum() == keys_of(config.values())
    assert allowed[0].all() == allowed[-1].all() == (row in ("full", "bigbird"))


def test_windows_of_the_layers():
    def sizes(row, **given):
        return longformer.window_sizes(resolve(longformer.PAPER, row, given).model)

    assert sizes("increasing") == [16, 32, 64, 128] == sizes("decreasing")[::-1]
    assert sizes("fixed") == [60] * 4 and sum(sizes("increasing")) == 240
    model = resolve(longformer.PAPER, "increasing-dilated", {}).model
    lower, upper = (longformer.make_mask(model).masks[layer] for layer in (1, 2))
    assert isinstance(upper, ByHead) and len(upper.masks) == 4 and not isinstance(lower, ByHead)
    keys = [dense(upper.of_head(head) & Causal(), 256)[0, 200].nonzero()[0] for head in (0, 3)]
    assert [len(found) for found in keys] == [65, 65]
    assert keys[0][0] == 200 - 2 * 64 and keys[1][0] == 200 - 64


@pytest.mark.parametrize("row", [row for row in reach.ROWS if row != "full"])
def test_the_reach_is_that_of_the_masks(row):
    config = resolve(reach.PAPER, row, {"length": 256})
    seen = np.zeros(256, bool)
    seen[-1] = True
    for layer in reversed(range(config.model.num_layers)):
        mask = reach.make_mask(config.model).of_layer(layer)
        allowed = dense(mask & Causal(), 256)[0]
        seen = (allowed[seen]).any(axis=0)
    # Nothing farther, and all that is as near.
    assert seen.sum() == 1 + reach_of(config.values()) == 256 - seen.argmax()


@pytest.mark.parametrize(("data", "length"), [("listops", 202), ("imdb", 1002), ("pixels", 1026)])
def test_every_attention_of_the_arena(data, length):
    """At the lengths of the tables, where no pattern may allow all pairs."""
    model = resolve(ARENA, "Transformer", {"data": data}).model
    for row in ARENA.rows:
        changed = resolve(ARENA, row, {"data": data}).model
        mask, heads = make_attention(changed, length)
        counts = dense(mask.of_length(length).of_head(0), length)[0].sum(axis=1)
        narrow = row in ("local", "Longformer", "BigBird")
        assert (counts[length // 2] < 0.8 * length) == narrow
        assert (counts[0] == length) == (row != "local")
        assert (getattr(heads, "func", None) is RoutingAttention) == (row == "Routing")
        assert (getattr(heads, "func", None) is LSHAttention) == (row == "Reformer")
        assert changed.sizes() == model.sizes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": "wnut17"}, "--data=wnut17, --class_token=True: the arena has classes"),
        ({"class_token": False}, "--class_token=False: the arena has classes"),
        ({"batching": "packed"}, "rows of one text; give --batching=sorted or tokens"),
    ],
)
def test_what_the_arena_does_not_have(given, message):
    config = resolve(ARENA, "Longformer", {"scale": "tiny"} | given)
    with pytest.raises(ValueError, match=message):
        ARENA.network(config, ARENA.task(config))


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_every_row_fits_its_network_at_every_scale(paper):
    """The texts of a row have as many positions as its network, and it is built."""
    for scale in paper.scales:
        for row in paper.rows:
            given = dict(scale=scale)
            if paper is DOCUMENTS and scale != "tiny":  # as a published BERT would give them
                given |= SIZES | (dict(max_length=512) if row == "full-512" else {})
            config = resolve(paper, row, given)
            task = paper.task(config)
            network = paper.network(config, task)
            shapes = jax.eval_shape(network.init, jax.random.key(0), *task.init_inputs())
            assert jax.tree.leaves(shapes)


@pytest.mark.parametrize(
    ("paper", "row", "given", "words"),
    [
        (BIGBIRD, "bigbird", {}, ("blank filled", "| bigbird")),
        (longformer.PAPER, "increasing-dilated", {}, ("bits per character",)),
        (ARENA, "Routing", {"data": "listops"}, ("| Routing",)),
        (ARENA, "Reformer", {"data": "listops"}, ("## ListOps", "| the first operator alone |")),
    ],
)
def test_a_row_writes_a_verifiable_table(paper, row, given, words, tmp_path):
    path = run(paper, row, tmp_path, scale="tiny", **given)
    paper.report(path.parent, paper)
    assert all(holds for *_, holds in verify(path.parent, find))
    table = (path.parent / "tables.md").read_text()
    assert all(word in table for word in words)
    assert np.isfinite(json.loads(path.read_text())["dev_loss"])


def test_orderings_say_what_came_out():
    found = orderings(
        {"a": 2.0, "b": 1.0, "c": None}, [("a", "b"), ("b", "a"), ("a", "c")], "points"
    )
    assert found == [
        "The paper has a above b: here it came out (+1 points).",
        "The paper has b above a: here it did not come out (-1 points).",
    ]


def test_an_encoder_is_carried_to_more_positions():
    config = resolve(DOCUMENTS, "longformer-2048", {"scale": "tiny"})
    task = DOCUMENTS.task(config)
    shapes = named_leaves(
        jax.eval_shape(DOCUMENTS.network(config, task).init, jax.random.key(0), *task.init_inputs())
    )
    short = resolve(DOCUMENTS, "full-512", {"scale": "tiny", "max_length": 24, "max_words": 20})
    params = DOCUMENTS.network(short, task).init(jax.random.key(0), *task.init_inputs())
    found = named_leaves(carry(config, params))
    assert {path: leaf.shape for path, leaf in found.items()} == {
        path: leaf.shape for path, leaf in shapes.items()
    }
    table = params["params"]["positions"]["table"]
    np.testing.assert_array_equal(found["params/positions/table"][24:48], table)
    np.testing.assert_array_equal(found["params/positions/table"][48:], table[:16])
    kernels = (found[f"params/blocks/attention/{name}/kernel"] for name in ("key_global", "key"))
    np.testing.assert_array_equal(*kernels)


def test_documents_of_a_length(tmp_path):
    folder = tmp_path / "grammar-tiny"
    run(DOCUMENTS, "longformer-2048", folder, scale="tiny", num_steps=4, min_words=8)
    DOCUMENTS.report(folder / "results", DOCUMENTS)
    assert all(holds for _, _, holds in verify(folder / "results", find))
    text = (folder / "results" / "tables.md").read_text()
    assert "words or more" in text
    with pytest.raises(ValueError, match="--min_words=999: no example of train has as many"):
        config = resolve(DOCUMENTS, "full-512", {"scale": "tiny", "min_words": 999})
        DOCUMENTS.task(config).load()
