"""Values of fine-tuning that several papers have: of data sets, and of the papers of 2018."""

# Sentences of which several share a row.
SENTENCES = dict(max_words=61, row_length=128, batch_tokens=1024)
_SHORT = dict(max_words=61, row_length=128, batch_tokens=512)
_PAIRS = dict(max_words=253, row_length=256, batch_tokens=2048, bucket_width=64, row_examples=16)
# The papers of 2018: batches of 32 texts, three epochs of SST-2's phrases.
THREE_EPOCHS = dict(
    data="sst2_phrases", batching="sorted", batch_size=32, num_steps=6300, eval_every=2100,
    save_every=2100, max_words=125, bucket_width=32,
)  # fmt: skip
# Steps are those of an epoch of SST-2's phrases, of about four of the smaller sets.
FINE_TUNING = {
    "grammar": SENTENCES | dict(num_steps=200, eval_every=50, save_every=200),
    "sst2": SENTENCES | dict(num_steps=656, eval_every=164, save_every=328),
    "sst2_phrases": SENTENCES | dict(
        num_steps=892, eval_every=223, save_every=223, learning_rate=2e-4, warmup_steps=90
    ),
    "trec": _SHORT | dict(num_steps=528, eval_every=132, save_every=264),
    "cola": _SHORT | dict(num_steps=704, eval_every=88, save_every=176),
    "wnut17": SENTENCES | dict(num_steps=444, eval_every=111, save_every=222),
    "mrpc": _PAIRS | dict(num_steps=412, eval_every=52, save_every=103),
    "rte": _PAIRS | dict(num_steps=336, eval_every=42, save_every=84),
    "stsb": _PAIRS | dict(
        batch_tokens=1024, num_steps=648, eval_every=81, save_every=162, best_by="+pearson"
    ),
}  # fmt: skip
