"""Sparse masks against the oracle, in every implementation that takes them, over several tiles."""

import itertools

import pytest

from attn_research.attention import api
from attn_research.attention.backends.pallas_gpu import backend as pallas_gpu
from attn_research.attention.backends.xla_flash import run_time, tiling
from attn_research.attention.testing.cases import SPARSE_MASKS, Case, prepare
from attn_research.attention.testing.comparison import compare
from attn_research.attention.testing.interpret import interpret_kernels

ODD, MORE_QUERIES = (2, 19, 35, 4, 2, 3, 6), (2, 35, 19, 4, 2, 3, 6)
ONE_QUERY = (2, 1, 35, 4, 2, 3, 6)
CASES = {
    "reference": [
        *(Case("additive_per_head", mask, "nts") for mask in SPARSE_MASKS),
        *(
            Case(mask=mask, mode=mode)
            for mask, mode in itertools.product(SPARSE_MASKS, ("prefill", "step"))
        ),
        *(Case(mask=mask, sizes=(2, 1, 9, 4, 2, 3, 6)) for mask in SPARSE_MASKS),
        *(Case(mask=mask, local="padded text") for mask in SPARSE_MASKS),
    ],
    "tiled": [
        *(Case("dot", mask, sizes=ODD) for mask in SPARSE_MASKS),
        *(Case(mask=mask, local="padded text", sizes=MORE_QUERIES) for mask in SPARSE_MASKS),
        *(Case(mask=mask, sizes=ONE_QUERY) for mask in SPARSE_MASKS),
        *(
            Case("general", mask, sizes=ODD, mode=mode)
            for mask, mode in zip(SPARSE_MASKS, itertools.cycle(("step", "prefill")), strict=False)
            if mask not in ("by head", "random blocks")  # below, for this score has arrays
        ),
        Case("general", "global tokens", "nts", sizes=ODD),
        Case(mask="by head", sizes=(2, 19, 35, 4, 2, 3, 35), dropout=0.3, bias="ns"),
        Case(mask="random blocks", sizes=ODD, dtype="bfloat16", mode="prefill"),
        Case(mask="by head", sizes=ODD, mode="step"),
    ],
    "gathered": [
        Case("additive", "dilated", sizes=ODD),
        Case("additive", "block window", sizes=ODD, mode="step"),
        Case(mask="by head", sizes=ODD, bias="nt"),
        Case(mask="by head", sizes=ODD, mode="prefill"),
        Case(mask="dilated", sizes=MORE_QUERIES, local="padded text"),
        Case(mask="block window", sizes=ONE_QUERY),
    ],
    "pallas": [
        Case(mask="strided", sizes=MORE_QUERIES, local="padded text"),
        Case(mask="sinks", sizes=ONE_QUERY),
        Case("dot", "prefix", sizes=ODD, mode="step"),
        Case(mask="dilated", sizes=ODD),
        Case(mask="global tokens", sizes=ODD, dtype="bfloat16"),
        Case(mask="by head", sizes=ODD),
        Case("dot", "random blocks", sizes=(2, 19, 35, 4, 4, 3, 6)),
    ],
    "splash": [Case(mask="strided", sizes=ODD), Case(mask="sinks", sizes=ODD)],
}
REFUSED = {
    "cudnn": (
        "Dilated is no band",
        Case(mask="dilated", dtype="bfloat16", sizes=(2, 9, 17, 4, 2, 8, 8)),
    ),
    "splash": ("masks by head", Case(mask="by head")),
    "gathered": ("sets no bound", Case(mask="global")),
    "tiled": ("the score Additive has arrays: use reference", Case("additive", "by head")),
    "pallas": ("a bias is not added", Case(mask="dilated", bias="s")),
}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Tiles that these lengths make several of, with kernels interpreted here."""
    interpret_kernels(monkeypatch.setattr)
    monkeypatch.setattr(pallas_gpu, "TILES", {256: ((32, 16), (32, 16), (16, 32))})
    monkeypatch.setattr(tiling, "QUERY_TILE", 16)
    monkeypatch.setattr(tiling, "KEY_TILE", 8)
    monkeypatch.setattr(run_time, "LEAST_TILES", 1)
    monkeypatch.setattr(run_time, "partitioning_devices", lambda: 1)


@pytest.mark.parametrize(
    ("implementation", "case"), [(i, case) for i, cases in CASES.items() for case in cases], ids=str
)
def test_implementation_equals_oracle(implementation, case):
    capture = None if implementation == "splash" else "all"
    assert not compare(implementation, case, capture=capture).wrong()


@pytest.mark.parametrize("implementation", REFUSED)
def test_refusals_name_the_reason(implementation):
    reason, case = REFUSED[implementation]
    assert reason in prepare(case, None).unsupported(implementation)


def test_every_implementation_takes_or_refuses_every_mask_by_name():
    for mask in SPARSE_MASKS:
        for implementation in api.IMPLEMENTATIONS:
            reason = prepare(Case(mask=mask), None).unsupported(implementation.name)
            assert reason is None or len(reason) > 10
