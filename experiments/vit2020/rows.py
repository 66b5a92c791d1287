"""Rows and scales of Dosovitskiy et al. 2020, with the figures that the paper printed."""

from attn_research.models.vit import SIZES
from experiments.harness.paper import TINY_TIME, Row, Scale


def _sized(size: str, patch: int, params: float | None, image_size: int = 224) -> Row:
    """A model of published size, for the images it takes; at scale tiny a tiny one of its kind."""
    layers, width, mlp, heads = SIZES[size]
    sizes = dict(num_layers=layers, model_dim=width, mlp_dim=mlp, num_heads=heads, patch=patch)
    whole = sizes | dict(image_size=image_size, channels=3)
    tiny = dict(
        num_layers=layers // 6, model_dim=4 * heads, mlp_dim=16 * heads, num_heads=heads,
        patch=4 if patch == 32 else 2,
    )  # fmt: skip
    printed = {"params": params} if params else {}
    return Row({}, printed, scales={"tiny": tiny, "small": whole, "paper": whole})


# A small model trained from nothing on 50,000 images, for 150 epochs of them: the sizes of Lee et
# al. 2021, section 4.1.
_FROM_NOTHING = dict(
    image_size=32, channels=3, batch_size=512, num_steps=14_250, eval_every=950, save_every=950,
    dtype="bfloat16", optimizer="muon", learning_rate=3e-3, weight_decay=0.2, warmup_steps=950,
    dropout=0.0, drop_path=0.05, crop=4, flip=True, cutmix=0.5, mixup=0.3, remat="none",
)  # fmt: skip

# Convolutions know what patches have to learn, that neighbors belong together.
_STEM = dict(
    stem_stages=3, stem_width=64, patch=1, num_layers=4, model_dim=256, mlp_dim=512, num_heads=4
)
_TINY_STEM = dict(stem_stages=2, stem_width=16, num_layers=2, model_dim=16, mlp_dim=32)
# The same images for two CPU cores, for 19 epochs.
_HYBRID = dict(
    image_size=32, channels=3, batch_size=128, num_steps=7420, eval_every=371, save_every=371,
    optimizer="muon", learning_rate=3e-3, weight_decay=0.5, warmup_steps=371, dropout=0.0,
    crop=4, flip=True, cutmix=0.5,
)  # fmt: skip
# For a GPU, for 100.
_HYBRID_100 = _HYBRID | dict(
    batch_size=256, num_steps=19_100, eval_every=955, save_every=955, dtype="bfloat16",
    weight_decay=0.2, warmup_steps=955, remat="none",
)  # fmt: skip

# The paper's Table 1 prints 86M, 307M and 632M; Ti and S are of later papers. The first row is a
# model of a size that its data can train from nothing.
ROWS = {
    "small": Row({}, {}, scales={"paper": dict(zip(
        ("num_layers", "model_dim", "mlp_dim", "num_heads"), SIZES["S"], strict=True
    ))}),
    "Ti/4": Row(
        dict(num_layers=9, model_dim=192, mlp_dim=384, num_heads=12, patch=4), {},
        scales={"small": _FROM_NOTHING, "tiny": dict(num_layers=2, model_dim=24, mlp_dim=48)},
    ),
    "hybrid": Row(_STEM, {}, scales={"small": _HYBRID, "tiny": _TINY_STEM}),
    "hybrid-100": Row(_STEM, {}, scales={"small": _HYBRID_100, "tiny": _TINY_STEM}),
    "Ti/16": _sized("Ti", 16, None),
    "S/16": _sized("S", 16, None),
    "B/16": _sized("B", 16, 86e6),
    "B/32": _sized("B", 32, 86e6),
    "L/16": _sized("L", 16, 307e6),
    "L/32": _sized("L", 32, 307e6),
    "H/14": _sized("H", 14, 632e6),
    "B/16-384": _sized("B", 16, 86e6, image_size=384),
}  # fmt: skip

# Recipes for two CPU cores, where to keep what is no matrix product for the gradient takes longer
# than to compute it again.
_ON_A_CPU = dict(optimizer="muon", learning_rate=3e-3, weight_decay=0.1, remat="dots")
_PHOTOGRAPHS = _ON_A_CPU | dict(
    channels=3, model_dim=128, mlp_dim=256, batch_size=64, num_steps=7500, eval_every=750,
    save_every=750, flip=True,
)  # fmt: skip
SCALES = {
    "tiny": Scale(dict(
        num_layers=2, model_dim=16, mlp_dim=32, num_heads=2, batch_size=16, num_steps=12,
        eval_every=6, save_every=6, warmup_steps=2,
    ), data={
        "mnist": dict(image_size=28, patch=7),
        "cifar10": dict(image_size=32, channels=3, patch=8),
        "folder": dict(image_size=32, channels=3, patch=8),
    }, time=TINY_TIME),
    "small": Scale(data={
        "digits": dict(
            num_steps=1000, eval_every=200, save_every=200, rotate=10.0, scale_jitter=1.1,
            **_ON_A_CPU,
        ),
        "mnist": dict(
            image_size=28, patch=7, num_steps=4000, eval_every=500, save_every=500, crop=2,
            rotate=10.0, scale_jitter=1.1, **_ON_A_CPU,
        ),
        "cifar10": dict(image_size=32, patch=4, crop=4, **_PHOTOGRAPHS),
        "folder": dict(image_size=64, patch=8, crop=8, **_PHOTOGRAPHS),
    }),
    "paper": Scale(dict(
        data="folder", image_size=224, channels=3, num_classes=1000, patch=16, batch_size=4096,
        num_steps=93_000, learning_rate=3e-3, weight_decay=0.3, warmup_steps=10_000, crop=16,
        flip=True, eval_every=5000, save_every=1000, label_smoothing=0.0,
    )),
}  # fmt: skip
