"""Published encoder-decoders at work: translations, their tokenizers, and what is refused."""

import functools
import json

import jax
import numpy as np
import pytest
import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from attn_research.decoding import Beam
from attn_research.pretrained import save
from experiments.published import translation
from experiments.published.continuation import Options
from experiments.published.model import load_published
from tests.experiments.programs import call, error_of
from tests.pretrained.golden import pretrained

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
LETTERS = [chr(ord("a") + number) for number in range(26)]


def with_words(folder, end):
    """A folder with a tokenizer of letters between spaces, and an end after each text."""
    words = {PAD: 0, END: 1} if end == 1 else {END: 0, PAD: 28}
    free = iter(number for number in range(29) if number not in words.values())
    words |= {letter: next(free) for letter in LETTERS}
    tokenizer = Tokenizer(models.WordLevel(words | {UNKNOWN: next(free)}, UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([PAD, END])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, end)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def with_pieces(folder, language=">>x<<"):
    """A folder with Marian's own files, in which pieces are characters."""
    for name in ("source", "target"):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c d e", "f g h a b"]),
            model_prefix=str(folder / name), model_type="char", vocab_size=13,
            hard_vocab_limit=False, minloglevel=2, bos_id=-1, eos_id=1,
        )  # fmt: skip
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
    pieces = [END, UNKNOWN, "▁", *"hgfedcba", language]
    pieces += [f"▁{number}" for number in range(28 - len(pieces))]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, PAD])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    found = {}
    for name in ("marian", "t5"):
        found[name] = tmp_path_factory.mktemp(name)
        save(found[name], *pretrained(name))
    with_words(found["t5"], 1)
    with_pieces(found["marian"])
    return found


def translate(model, *texts, maps=False, **options):
    options = Options(**{"num_tokens": 7} | options)
    return list(translation.respond(model, texts, options, maps=maps))


def by_hand(model, text, num_tokens=7):
    """The greedy tokens, and their log-probability; at the limit there is an end."""
    ids, config = model.encode(text)[0], model.config
    source = np.zeros((1, 24), np.int32)
    source[0, : len(ids)] = ids
    previous = np.zeros((1, num_tokens), np.int32)
    last, tokens, total = config["decoder_start_token_id"], [], 0.0
    run = read(model.network)
    while len(tokens) < num_tokens and last != config["eos_token_id"]:
        previous[0, len(tokens)] = last
        found = run(model.params, source, np.arange(24)[None] < len(ids), previous)
        logits = np.asarray(found.logits[0, len(tokens)], np.float64)
        allowed = logits.copy()
        allowed[config["pad_token_id"]] = -np.inf
        full = len(tokens) == num_tokens - 1
        last = config["eos_token_id"] if full else int(allowed.argmax())
        tokens.append(last)
        total += logits[last] - np.log(np.exp(logits).sum())
    return tokens, total


@functools.cache
def read(network):
    return jax.jit(network.apply)


@pytest.mark.parametrize("name", ["marian", "t5"])
def test_translations_are_the_greedy_ones_in_any_batch(folders, name):
    model = load_published(folders[name])
    assert model.abilities == ("translate",) and model.choose("") == "translate"
    texts = ["a b c", "h", "d e f g h a b c a b"]
    for text, found in zip(texts, translate(model, *texts, batch_size=3), strict=True):
        tokens, log_prob = by_hand(model, text)
        kept = [token for token in tokens if token != model.config["eos_token_id"]]
        assert found.output == model.tokenizer.decode(kept)
        assert found.scores["log_probability"] == pytest.approx(log_prob, rel=1e-4)
        assert found.notes[0].startswith(f"{len(tokens)} tokens")


def test_a_beam_finds_no_less_probable_translation(folders):
    model = load_published(folders["marian"])
    (greedy,) = translate(model, "a b c", num_tokens=3)
    (found,) = translate(model, "a b c", num_tokens=3, strategy=Beam(29, 0.0))
    assert found.scores["log_probability"] >= greedy.scores["log_probability"] - 1e-5


def test_maps_are_of_cross_attention(folders):
    model = load_published(folders["marian"])
    (found,) = translate(model, ">>x<<a b", maps=True)
    assert len(found.maps) == model.num_layers * model.network.num_heads
    drawn = found.maps["layer 1, head 2"]
    assert drawn.columns == [">>x<<", "·", "a", "·", "b", END]
    assert drawn.weights.shape == (len(drawn.rows), 6)
    np.testing.assert_allclose(drawn.weights.sum(-1), 1, atol=1e-5)


def test_all_attention_of_encoder_and_decoder_is_looked_at(folders):
    model = load_published(folders["marian"])
    (response,) = translate(model, "a b c", maps=True)
    found = translation.look(model, "a b c", Options(num_tokens=7))
    encoder, cross, decoder = found.views
    assert found.response.output == response.output
    first = response.maps["layer 1, head 1"]
    np.testing.assert_allclose(cross.weights[0, 0], first.weights, atol=1e-6)
    assert cross.rows == first.rows and encoder.rows == first.columns
    assert decoder.columns == ["<start>", *first.rows[:-1]]
    for view in found.views:
        np.testing.assert_allclose(view.weights.sum(-1), 1, atol=1e-5)


def test_ids_of_pieces_are_those_of_the_vocabulary(folders):
    tokenizer = load_published(folders["marian"]).tokenizer
    vocabulary = json.loads((folders["marian"] / "vocab.json").read_text())
    ids, types = tokenizer.encode("ab z")
    pieces = ["▁", "a", "b", "▁", UNKNOWN, END]
    assert ids == [vocabulary[piece] for piece in pieces] and types == [0] * 6
    assert tokenizer.decode(ids[:3]) == "ab" and tokenizer.end == (0,)


def test_the_command_line_translates_and_draws(folders, tmp_path):
    picture = tmp_path / "map.png"
    words = [f"--checkpoint={folders['marian']}", "--text=a b c", "--beam_size=3"]
    words += ["--num_tokens=5", f"--attention={picture}"]
    done = call("experiments.predict", *words)
    assert done.returncode == 0, done.stderr
    assert "log_probability" in done.stdout and picture.stat().st_size > 1000
    assert done.stderr.startswith("Transformer: translate\n")
    error = error_of("experiments.predict", words[0], "--text=a", "--temperature=0.5")
    assert "--temperature is for --do=continue, and this is translate" in error


def damage(folder, kind):
    network = "clip" if kind == "images" else "marian"
    save(folder, *pretrained(network))
    if kind != "no tokenizer":
        with_pieces(folder)
    if kind == "large id":
        (folder / "vocab.json").write_text('{"</s>": 0, "<unk>": 29}')
    elif kind == "no end":
        (folder / "vocab.json").write_text('{"<unk>": 0}')
    elif kind == "no pieces":
        (folder / "source.spm").write_bytes(b"none")
    return folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("images", "this CLIPModel does not read text alone"),
        ("no tokenizer", "has no tokenizer: .* source.spm, target.spm and vocab.json"),
        ("large id", "'<unk>' is 29, and the model embeds 0 to 28"),
        ("no end", "has no </s>: it is no vocabulary of Marian's kind"),
        ("no pieces", r"source\.spm is no SentencePiece model"),
    ],
)
def test_folders_that_cannot_translate_are_refused(tmp_path, kind, message):
    with pytest.raises((ValueError, OSError), match=message) as error:
        load_published(damage(tmp_path, kind))
    assert "\n" not in str(error.value)


def test_special_tokens_that_are_missing_are_named(folders):
    model = load_published(folders["t5"])
    model.config["decoder_start_token_id"] = None
    with pytest.raises(ValueError, match="decoder_start_token_id is None: translating needs"):
        translate(model, "a")
    with pytest.raises(ValueError, match="--do=embed: this Transformer does translate"):
        model.choose("embed")
