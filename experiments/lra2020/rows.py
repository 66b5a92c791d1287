"""Rows and scales of Tay et al. 2020: kinds of attention, on each of the arena's tasks."""

from experiments.harness.paper import TINY_TIME, Row, Scale

# Table 1, accuracies in percent: ListOps, Text, Image, Pathfinder. Its retrieval is another task
# than the halves of reviews here.
_TASKS = "listops", "imdb", "pixels", "pathfinder"
ROWS = {
    name: Row({"attention": attention}, dict(zip(_TASKS, printed, strict=True)))
    for name, attention, printed in (
        ("Transformer", "full", (36.37, 64.27, 42.44, 71.40)),
        ("local", "local", (15.82, 52.98, 41.46, 66.63)),
        ("Longformer", "longformer", (35.63, 62.85, 42.22, 69.71)),
        ("BigBird", "bigbird", (36.05, 64.02, 40.83, 74.87)),
        ("Reformer", "reformer", (37.27, 56.10, 38.07, 68.50)),
    )
} | {"Routing": Row({"attention": "routing"})}  # Roy et al. 2020, which the arena does not have
_BYTES = dict(tokenizer="bytes", max_words=1000, bucket_width=128)
_PIXELS = dict(max_words=1024, bucket_width=1028)
_CIFAR = dict(train_examples=49_000, test_examples=10_000)
# Blocks by which no pattern is full attention at these lengths.
_LISTS = dict(max_words=200, block=8, bucket_width=32, train_examples=20_000, num_steps=4000)
SCALES = {
    "tiny": Scale(dict(
        num_layers=2, model_dim=16, mlp_dim=32, num_heads=2, block=8, num_steps=6, eval_every=3,
        save_every=6, warmup_steps=2, vocab_size=300, max_words=60, bucket_width=64, batch_size=8,
        train_examples=100, test_examples=20,
    ), data={"pixels": dict(max_words=1024)}, time=TINY_TIME),
    "small": Scale(data={
        "listops": _LISTS,
        # Within so few epochs dropout costs far more than it saves.
        "imdb": _BYTES | dict(dropout=0.0, num_steps=2000, eval_every=500),
        "halves": _BYTES | dict(max_words=2000),
        "pixels": _PIXELS | _CIFAR,
        "pathfinder": _PIXELS | dict(train_examples=20_000),
    }),
    # The arena's lengths and sizes of networks; its learning rates are of other schedules.
    "paper": Scale(dict(
        num_layers=6, model_dim=512, mlp_dim=2048, num_heads=8, num_steps=20_000, warmup_steps=8000,
        eval_every=1000, save_every=1000,
    ), data={
        "listops": dict(
            max_words=2000, train_examples=96_000, test_examples=2000, num_steps=5000,
            warmup_steps=1000,
        ),
        "imdb": _BYTES | dict(max_words=4000),
        "halves": _BYTES | dict(
            max_words=8000, num_layers=4, model_dim=128, mlp_dim=512, num_heads=4, num_steps=5000,
            warmup_steps=1000,
        ),
        "pixels": _PIXELS | _CIFAR | dict(num_layers=3, model_dim=64, mlp_dim=128, num_heads=4),
        "pathfinder": _PIXELS | dict(
            num_layers=4, model_dim=128, mlp_dim=128, train_examples=160_000, test_examples=20_000
        ),
    }),
}  # fmt: skip
