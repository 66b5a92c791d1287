"""Rows and scales of Radford et al. 2018 and 2019, with the figures that the papers printed."""

from attn_research.models.gpt import SIZES
from experiments.harness.paper import TINY_TIME, Row, Scale


def _sized(size: str, context: int, vocab_size: int, paper: dict, **changes) -> Row:
    """A model of published size; at scale tiny a tiny one of its kind."""
    layers, width, mlp, heads = SIZES[size]
    whole = dict(num_layers=layers, model_dim=width, mlp_dim=mlp, num_heads=heads)
    tiny = dict(num_layers=layers // 6, model_dim=2 * heads, mlp_dim=8 * heads, num_heads=heads)
    printed = whole | dict(context=context, vocab_size=vocab_size)
    return Row(changes, paper, scales={"tiny": tiny, "small": whole, "paper": printed})


def _gpt2(size: str, params: float, wikitext2: float, ptb: float) -> Row:
    """A row of GPT-2's Tables 2 and 3: parameters, and perplexities without any training there."""
    return _sized(size, 1024, 50_257, {"params": params, "wikitext2": wikitext2, "ptb": ptb})


# nanoGPT's command for a CPU, whose own estimate of the validation loss is 1.88.
_NANOGPT = dict(
    tokenizer="characters", vocab_size=65, rows="windows", context=64, batch_size=12,
    num_steps=2000, eval_every=500, save_every=1000, optimizer="adamw_99", learning_rate=1e-3,
    warmup_steps=100, weight_decay=0.1, end_rate=0.1,
)  # fmt: skip
# Better use of two cores: more tokens a step, orthogonalized momentum, rotations.
_TEN_MINUTES = dict(
    tokenizer="characters", vocab_size=65, rows="windows", context=128, batch_size=16,
    num_steps=4000, eval_every=1000, save_every=1000, optimizer="muon", learning_rate=3e-3,
    warmup_steps=100, weight_decay=0.1, num_layers=4, model_dim=128, mlp_dim=512, num_heads=4,
    positions="rotary",
)  # fmt: skip

# The first row is of a size that its text can train from nothing.
ROWS = {
    "small": Row(),
    "nanoGPT-CPU": Row(
        dict(num_layers=4, model_dim=128, mlp_dim=512, num_heads=4, biases=False),
        {"loss": 1.88},
        scales={
            "small": _NANOGPT, "tiny": dict(num_layers=2, model_dim=16, mlp_dim=32, num_heads=2)
        },
    ),
    "10-minutes": Row(
        dict(biases=False), {}, scales={"small": _TEN_MINUTES, "tiny": dict(positions="rotary")}
    ),
    # Radford et al. 2018: learning rate, warmup and batch of section 4.1.
    "GPT": _sized(
        "small", 512, 40_478, {"params": 117e6}, block="gpt", dropout=0.1, attention_dropout=0.1
    ),
    "GPT-2": _gpt2("small", 117e6, 29.41, 65.85),
    "GPT-2-medium": _gpt2("medium", 345e6, 22.76, 47.33),
    "GPT-2-large": _gpt2("large", 762e6, 19.93, 40.31),
    "GPT-2-xl": _gpt2("xl", 1542e6, 18.34, 35.76),
}  # fmt: skip

_CHARACTERS = dict(tokenizer="characters", context=128, batch_size=32)
SCALES = {
    "tiny": Scale(dict(
        num_layers=2, model_dim=16, mlp_dim=32, num_heads=2, batch_size=8, num_steps=12,
        eval_every=6, save_every=6, warmup_steps=2, sentences=300, sample_length=20,
    ), data={
        "grammar": dict(rows="packed"),
        "tinyshakespeare": dict(tokenizer="characters"),
        "warandpeace": dict(tokenizer="characters"),
    }, time=TINY_TIME),
    # A CPU computes what is no matrix product again sooner than it keeps it.
    "small": Scale(dict(optimizer="muon", learning_rate=3e-3, remat="dots"), data={
        # A grammar has text without end.
        "grammar": dict(
            rows="packed", vocab_size=1200, sentences=50_000, batch_size=32, num_steps=1500,
            eval_every=250, save_every=500, sample_length=60,
        ),
        "tinyshakespeare": _CHARACTERS | dict(vocab_size=65),
        "warandpeace": _CHARACTERS | dict(vocab_size=110, num_steps=4000),
        "ptb": dict(
            vocab_size=10_003, num_layers=3, model_dim=256, mlp_dim=1024, num_heads=4, dropout=0.3,
            positions="rotary", biases=False, context=128, batch_size=16, num_steps=4000,
            eval_every=500, save_every=1000,
        ),
        "wikitext2": dict(
            tokenizer="subwords", vocab_size=8000, num_layers=4, model_dim=256, mlp_dim=1024,
            dropout=0.2, context=128, num_steps=6000, eval_every=500, save_every=1000,
        ),
    }),
    # Training as Radford et al. 2018, section 4.1, but for the number of steps, which neither paper
    # says, and the vocabulary.
    "paper": Scale(dict(
        data="text", tokenizer="subwords", vocab_size=50_257, context=512, batch_size=64,
        num_layers=12, model_dim=768, mlp_dim=3072, num_heads=12, num_steps=800_000,
        learning_rate=2.5e-4, warmup_steps=2000, weight_decay=0.01, eval_every=10_000,
        save_every=5000,
    )),
}  # fmt: skip
