"""Rows and scales of Alayrac et al. 2022: what is seen, and by how many visual tokens."""

from experiments.harness.paper import TINY_TIME, Row, Scale
from experiments.tasks.visual_questions.config import TINY

_ALONE = dict(sees="nothing", learns="texts")
ROWS = {
    "language": Row(_ALONE, scales={"small": dict(num_steps=1000)}),
    "last": Row({"sees": "last"}),
    "last-features": Row({"sees": "last", "num_latents": 0}),
    "last-undescribed": Row({"sees": "last", "language_learns": "texts"}),
    "all": Row({"sees": "all"}),
    "all-numbered": Row({"sees": "all", "numbered": True}),
}
SCALES = {
    "tiny": Scale(TINY | dict(
        num_layers=1, model_dim=16, mlp_dim=16, num_heads=2, num_latents=3, resampler_layers=1,
        language_steps=2, num_steps=4, eval_every=2, save_every=2, warmup_steps=2,
    ), data={
        "easy_vqa": dict(image_size=64), "nlvr": dict(vocab_size=400, max_words=40),
    }, time=TINY_TIME),
    "small": Scale(data={
        # Cells that see 10 pixels: what is in one is not to be read beside it.
        "easy_vqa": dict(image_size=64, num_steps=4000, overlapping=1),
        "nlvr": dict(
            vocab_size=400, max_words=40, num_steps=500, eval_every=50, save_every=250,
            language_steps=200, dropout=0.2,
        ),
    }),
    # Section 2 and the authors' appendix: 64 visual tokens of an image, by 6 layers.
    "paper": Scale(dict(num_latents=64, resampler_layers=6)),
}  # fmt: skip
