"""A decoder on labelled texts: packed rows, the last token, where training starts, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn_research.data.text.examples import CollateExamples, Item
from experiments.gpt2018.finetuning.paper import PAPER
from experiments.harness.paper import resolve
from experiments.harness.program import make_program
from experiments.harness.run_folder import load_run
from experiments.harness.starting import starting_params
from experiments.harness.verify import verify
from experiments.papers import find
from tests.experiments.runs import run
from tests.experiments.test_gpt2018_start import NETWORKS, publish

TINY = dict(scale="tiny", num_steps=4, eval_every=2, save_every=4)


def write(folder, labels="classes"):
    """Flags of texts of one's own, some of which hold the first token of a tokenizer, "!"."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(24):
        words = rng.choice(list("ab!"), rng.integers(2, 7))
        label = {"classes": "xy"[number % 2], "numbers": str(len(words)), "tags": "O"}[labels]
        text = " ".join(words)
        lines.append(f"{label}\t{text}" if labels != "tags" else f"{text.split()[0]} O\n")
    given = TINY | {"data": "text", "labels": labels}
    for split in ("train", "dev", "test"):
        (folder / split).write_text("\n".join(lines) + "\n")
        given[split] = str(folder / split)
    return given


@pytest.fixture
def published(tmp_path):
    """A published decoder whose tokenizer's first token is a mark of texts."""
    return tmp_path / "published", publish(tmp_path / "published", NETWORKS["llama"])


def test_training_starts_at_a_published_decoder(published, tmp_path):
    folder, params = published
    given = write(tmp_path) | {"init_from": str(folder)}
    config = resolve(PAPER, "fine-tuned", given)
    assert (config.task.text.vocab_size, config.model.block) == (256, "llama")
    program = make_program(PAPER, config, PAPER.task(config).load())
    start = starting_params(program, find)["params"]
    assert set(start) == {"words", "blocks", "norm", "classifier"}
    jax.tree.map(np.testing.assert_array_equal, start["blocks"], params["params"]["blocks"])
    assert start["classifier"]["kernel"].shape == (8, 2)
    tokenizer = program.task.tokenizer
    assert tokenizer.encode("!") == [0]
    batch = next(program.task.eval_batches("dev"))
    ends = batch["ids"][np.arange(24), batch["valid"][:24].sum(axis=1) - 1]
    assert (ends == tokenizer.line_end).all() and (
        batch["ids"][:24][batch["valid"][:24]] == 0
    ).any()


@pytest.mark.parametrize("labels", ["classes", "numbers"])
def test_packed_rows_have_the_loss_and_gradients_of_rows_of_their_own(published, tmp_path, labels):
    given = write(tmp_path, labels) | dict(init_from=str(published[0]), best_by="loss")
    config = resolve(PAPER, "fine-tuned", given | dict(dropout=0.0, attention_dropout=0.0))
    program = make_program(PAPER, config, PAPER.task(config).load())
    packed = next(program.task.train_batches(0, lambda total: slice(0, total)))
    assert {name: (x.shape, x.dtype) for name, x in packed.items()} == {
        name: (x.shape, x.dtype) for name, x in program.task.batch_spec().items()
    }
    alone = [
        Item(ids[place == number][:-1], int((place == number).sum()), label[number - 1])
        for ids, place, label in zip(
            packed["ids"], packed["segments"], packed["label"], strict=True
        )
        for number in range(1, place.max() + 1)
    ]
    batch = CollateExamples(labels, program.task.tokenizer.line_end)(alone, len(alone), 20)
    params = starting_params(program, find)

    @functools.partial(jax.jit, static_argnums=1)
    def mean_loss(batch, shape):
        def total(params):
            sums = program.loss(params, batch, jax.random.key(0))
            return sums.total / sums.weight, sums.weight

        return jax.value_and_grad(total, has_aux=True)(params)

    (loss, weight), gradient = mean_loss(packed, "packed")
    (expected, count), wanted = mean_loss(batch, "alone")
    assert weight == count == len(alone) > len(packed["ids"])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=2e-5), gradient, wanted)


def test_a_text_is_classified_by_its_last_token(published, tmp_path):
    config = resolve(PAPER, "fine-tuned", write(tmp_path) | {"init_from": str(published[0])})
    program = make_program(PAPER, config, PAPER.task(config).load())
    params, network = starting_params(program, find), program.eval_network
    ids = jnp.array([[5, 9, 2, 7], [5, 9, 0, 0]])
    valid = jnp.array([[True] * 4, [True, True, False, False]])
    found = network.apply(params, ids, valid).logits
    alone = network.apply(params, ids[1:, :2], valid[1:, :2]).logits
    np.testing.assert_allclose(found[1], alone[0], atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-4
    # A later text changes nothing, and the token 0 counts where it is no padding.
    whole = network.apply(params, ids[1:], valid[:1]).logits
    assert np.abs(whole[0] - found[1]).max() > 1e-4


def test_a_run_is_verified_answers_and_is_a_start(tmp_path):
    folder = tmp_path / "grammar-tiny"
    run(PAPER, "from-nothing", folder, **TINY)
    PAPER.report(folder / "results", PAPER)
    assert all(holds for *_, holds in verify(folder / "results", find))
    place = folder / "runs" / "from-nothing.seed0"
    kept = load_run(place, find)
    (found,) = kept.task.respond([kept.network], [kept.params], ["the dogs of my friend"])
    assert found.output in ("singular", "plural") and "layer 1, head 2" in found.maps
    config = resolve(PAPER, "fine-tuned", TINY | {"init_from": str(place)})
    program = make_program(PAPER, config, PAPER.task(config).load())
    start = starting_params(program, find)["params"]
    jax.tree.map(np.testing.assert_array_equal, start["blocks"], kept.params["params"]["blocks"])


def test_what_a_decoder_cannot_do_is_refused(published, tmp_path):
    config = resolve(PAPER, "from-nothing", write(tmp_path, "tags") | {"tokenizer": "words"})
    with pytest.raises(ValueError, match="a decoder classifies whole texts"):
        PAPER.network(config, PAPER.task(config))
    given = write(tmp_path) | {"init_from": str(published[0]), "class_token": True}
    with pytest.raises(ValueError, match="its tokenizer has no token that stands for a text"):
        PAPER.task(resolve(PAPER, "fine-tuned", given)).load()
