"""The benchmark of masked attention on a GPU, with interpreted kernels."""

import pytest

from attn_research.attention.backends import cudnn
from attn_research.attention.backends.pallas_gpu import backend as pallas
from experiments.benchmarks import attention_gpu


def test_useful_pairs_are_those_that_the_mask_allows():
    seen = {
        name: attention_gpu.visible(mask, 2, 64)
        for name, mask in attention_gpu.masks(2, 64).items()
    }
    assert seen == {
        "full": 2 * 64 * 64,
        "causal": 2 * 64 * 65 // 2,
        "window": 2 * (64 * 16 - 15 * 16 // 2),
        "documents": 2 * 8 * (8 * 9 // 2),
    }


def test_every_mask_is_measured_relative_to_unmasked_cudnn(monkeypatch):
    monkeypatch.setattr(cudnn, "BACKEND", "xla")
    monkeypatch.setattr(pallas, "INTERPRET", True)
    monkeypatch.setattr(attention_gpu, "TOKENS", 32)
    monkeypatch.setattr(attention_gpu, "MODEL_DIM", 16)
    options = {"implementations": ["pallas"], "gradient": True, "rounds": 1, "calls": 1}
    rows = list(attention_gpu.measure(32, 8, **options))
    systems = [(row["implementation"], row["mask"]) for row in rows]
    masks = ("full", "causal", "window", "documents")
    expected = [(i, mask) for i in ("cudnn", "pallas") for mask in masks]
    assert systems == [pair for pair in expected if pair != ("cudnn", "documents")]
    assert rows[0]["of_unmasked_cudnn"] == 1


def test_a_machine_without_a_gpu_gives_a_one_line_error(capsys):
    with pytest.raises(SystemExit) as end:
        attention_gpu.main([])
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: this measures on a GPU, here is cpu\n"
