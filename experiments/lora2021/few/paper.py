"""Full fine-tuning and low-rank updates on few labelled sentences, after Hu et al. 2021.

The paper compares them on parts of MNLI; here they learn some of SST-2's phrases, drawn by the
seed.
"""

import dataclasses

from experiments.harness.paper import TINY_TIME, Row, Scale
from experiments.lora2021 import paper as lora
from experiments.lora2021.few import tables
from experiments.tasks.text_classification import encoder
from experiments.tasks.text_classification.scales import SENTENCES

STEPS = {100: 60, 500: 120, 2000: 240}  # of training, by the number of labelled sentences
ROWS = {
    f"{method}-{count}": Row(
        lora.ROWS[method].config,
        scales={
            "tiny": dict(num_labelled=count // 20),
            "small": dict(lora.ROWS[method].scales.get("small", {}))
            | dict(num_labelled=count, num_steps=steps, eval_every=steps // 3, save_every=steps),
        },
    )
    for count, steps in STEPS.items()
    for method in ("full", "lora")
}
SCALES = {
    "tiny": Scale(encoder.TINY, time=TINY_TIME),
    "small": Scale(SENTENCES | dict(
        data="sst2_phrases", batch_tokens=512, warmup_steps=10
    )),
}  # fmt: skip

PAPER = dataclasses.replace(
    lora.PAPER,
    name="lora2021.few",
    title="Full fine-tuning and low-rank updates on few labelled sentences",
    rows=ROWS,
    default_row="lora-500",
    scales=SCALES,
    report=tables.report,
)
