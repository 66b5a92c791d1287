"""Fine-tuning of GPT: the network, the tokenizer and the parameters of --init_from."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from attn_research.attention import Rotary
from attn_research.layers.embeddings import LearnedPositions
from attn_research.models.bert import Bert
from attn_research.models.gpt import GPT, GPT1_BLOCK, LLAMA_BLOCK
from attn_research.pretrained import save
from experiments.gpt2018.paper import PAPER
from experiments.harness.given import check_given
from experiments.harness.paper import resolve
from experiments.harness.program import make_program
from experiments.harness.run_folder import load_run
from experiments.harness.starting import starting_params
from experiments.papers import find
from tests.experiments.runs import run

TEXT = "to be , or not to be\n\nthat is the question\n"
TINY = dict(scale="tiny", context=8, num_steps=2, eval_every=2, save_every=2, sample_length=5)
NETWORKS = {
    "gpt": GPT(
        300, 2, 8, 32, 2, block=GPT1_BLOCK, positions=LearnedPositions(16), attention_bias=True
    ),
    "gpt2": GPT(300, 2, 8, 16, 2, positions=LearnedPositions(16), attention_bias=True),
    "llama": GPT(
        300,
        2,
        8,
        16,
        4,
        block=LLAMA_BLOCK,
        rotary=Rotary(2, 500.0),
        num_kv_heads=2,
        head_dim=2,
        tied=False,
    ),
}


@pytest.fixture
def text(tmp_path):
    """Flags of a data set of one's own."""
    files = {split: str(tmp_path / f"{split}.txt") for split in ("train", "dev", "test")}
    for path in files.values():
        with open(path, "w") as file:
            file.write(8 * TEXT)
    return TINY | dict(data="text", **files)


def write_tokenizer(folder):
    """Bytes, each a token."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({each: i for i, each in enumerate(symbols)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    (folder / "tokenizer.json").write_text(tokenizer.to_str())


def publish(folder, network):
    """Random parameters of a network, published in a folder with a tokenizer of 256 tokens."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.array(0.3 * rng.normal(size=x.shape), x.dtype), shapes)
    save(folder, network, params)
    write_tokenizer(folder)
    return params


@pytest.mark.parametrize("kind", NETWORKS)
def test_training_starts_at_a_published_network(tmp_path, text, kind):
    network, ids = NETWORKS[kind], jnp.array([[5, 200, 31, 7, 255]])
    params = publish(tmp_path / "published", network)
    config = resolve(PAPER, "small", text | {"init_from": str(tmp_path / "published")})
    program = make_program(PAPER, config, PAPER.task(config).load())
    start = starting_params(program, find)
    found = program.network.apply(start, ids).logits
    assert found.shape[-1] == 256
    wanted = network.apply(params, ids).logits[..., :256]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_run_goes_on_from_a_run_on_another_text(tmp_path, text):
    publish(tmp_path / "published", NETWORKS["llama"])
    first = run(PAPER, "small", tmp_path / "a", **text, init_from=str(tmp_path / "published"))
    folder = tmp_path / "a" / "runs" / "small.seed0"
    assert json.loads(first.read_text())["config"]["num_kv_heads"] == 2
    run(PAPER, "small", tmp_path / "b", **text, init_from=str(folder))
    kept = load_run(tmp_path / "b" / "runs" / "small.seed0", find)
    assert kept.task.tokenizer.decode(kept.task.tokenizer.encode(TEXT)) == TEXT
    assert len(kept.task.tokenizer.encode(TEXT)) == len(TEXT)
    (found,) = kept.task.respond([kept.network], [kept.params], ["to be"])
    assert found.output.startswith("to be")


def test_what_contradicts_the_start_is_refused(tmp_path, text):
    publish(tmp_path / "published", NETWORKS["gpt2"])
    start = text | {"init_from": str(tmp_path / "published")}
    check_given(PAPER, "small", start)
    for given, words in (
        (
            {"num_layers": 3},
            "--num_layers=3, and --init_from=.* has num_layers=2: remove",
        ),
        ({"tokenizer": "bytes"}, "--tokenizer=bytes, and --init_from=.* has tokenizer=given"),
    ):
        with pytest.raises(ValueError, match=words):
            check_given(PAPER, "small", start | given)
    with pytest.raises(ValueError, match="row GPT-2 sets model_dim=24, and"):
        check_given(PAPER, "GPT-2", start)


def test_what_cannot_be_a_start_is_named(tmp_path, text):
    publish(tmp_path / "bert", Bert(300, 1, 8, 16, 2, heads=("masked_lm",)))
    publish(tmp_path / "narrow", NETWORKS["llama"].clone(head_dim=4, rotary=Rotary(4)))
    for name, words in (("bert", "Bert is no GPT"), ("narrow", "its .* is .*; this network has")):
        with pytest.raises(ValueError, match=words):
            resolve(PAPER, "small", text | {"init_from": str(tmp_path / name)})


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such folder or GGUF file"), ("{}", "tokenizer.json: it is no tokenizer")],
)
def test_a_tokenizer_that_is_none_is_named(tmp_path, text, content, words):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    config = resolve(
        PAPER, "small",
        text | dict(tokenizer="given", vocabulary=str(tmp_path / "tokenizer.json")),
    )  # fmt: skip
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        PAPER.task(config).check()
    config = resolve(PAPER, "small", text | {"tokenizer": "given"})
    with pytest.raises(ValueError, match="--tokenizer=given needs --vocabulary"):
        PAPER.task(config).check()
