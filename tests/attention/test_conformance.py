"""Every implementation against the oracle: forward and every gradient, over what it supports."""

import functools
import itertools
import math

import jax
import numpy as np
import pytest

from attn_research.attention import Padding, Segments, api
from attn_research.attention.backends.pallas_gpu import backend as pallas_gpu
from attn_research.attention.backends.tiles.rules import tile_rule
from attn_research.attention.masks import And, Mask
from attn_research.attention.positions import grid
from attn_research.attention.scores import Dot
from attn_research.attention.testing.cases import (
    MASKS,
    SIZES,
    SPARSE_MASKS,
    Case,
    make_masks,
    matrix_cases,
    prepare,
)
from attn_research.attention.testing.comparison import compare
from attn_research.attention.testing.interpret import interpret_kernels
from attn_research.attention.testing.mechanisms import SCORES


def call_of(case):
    inputs = prepare(case)
    return inputs.call(inputs.arrays)


def parts_of(mask):
    """The masks that a mask is composed of, and itself."""
    inner = [part for part in vars(mask).values() if isinstance(part, Mask)]
    return [mask, *itertools.chain.from_iterable(map(parts_of, inner))]


def few_keys(case):
    call = call_of(case)
    span = call.mask.span(grid(np.arange(call.lengths[0]), np.arange(1), rank=4)[0])
    width = span[1] if span else math.inf
    of_every_key = getattr(call.score, "depends_on_index", False) or "s" in (case.bias or "")
    return 2 * width <= case.sizes[2] and not of_every_key and takes_heads_apart(case)


@functools.cache
def of_dot(score):
    call = call_of(Case(score))
    pair = call.score.pairwise(call.query, call.key) if hasattr(call.score, "pairwise") else [None]
    return isinstance(pair[0], Dot)


@functools.cache
def has_tile_rule(name):
    mask, _ = make_masks(1, 3, 3)[name]
    return all(type(part) in tile_rule.registry for part in parts_of(mask) if jax.tree.leaves(part))


def takes_heads_apart(case):
    """Whether the mask is the same for all heads, or the score has no arrays of theirs."""
    return not call_of(case).mask.varies or case.score in ("dot", "scaled_dot")


def plain_products(case):
    known = all(map(has_tile_rule, filter(None, (case.mask, case.local))))
    plain = known and of_dot(case.score) and not (case.bias or case.gaussian)
    plain &= case.normalizer == "softmax"
    return plain and takes_heads_apart(case)


def in_bands(case):
    halves = case.dtype != "float32" and case.sizes[5] == case.sizes[6] == 8
    return plain_products(case) and halves and case.mask in ("full", "causal")


def joined_by_and(mask):
    """Whether documents and padding are joined to structure by & alone."""
    if isinstance(mask, And):
        return joined_by_and(mask.a) and joined_by_and(mask.b)
    structure = not jax.tree.leaves(mask) and not mask.varies
    return isinstance(mask, Padding | Segments) or structure


def documents_and_padding(case):
    plain = case.mode == "train" and not (case.dropout or case.dtype == "float16")
    any_key = prepare(case).allowed.any()
    return plain_products(case) and plain and any_key and joined_by_and(call_of(case).mask)


def in_tiles(case):
    normalized = case.normalizer in ("softmax", "sigmoid")
    return normalized and hasattr(call_of(case).score, "pairwise") and takes_heads_apart(case)


# One row per implementation: the cases it supports. It must refuse the others.
SUPPORTS = {
    "ring": lambda case: False,  # of a program that a mesh divides: test_ring
    "cudnn": in_bands,
    "hopper": lambda case: False,  # of such widths; others are in test_hopper
    "pallas": plain_products,
    "splash": documents_and_padding,
    "gathered": few_keys,
    "tiled": in_tiles,
    "reference": lambda case: True,
}
# They give no weights.
NO_WEIGHTS = ("cudnn", "splash")
# Loops over tiles take seconds to compile: one case of three, with each score and each mask. The
# reference computes scores and masks apart: of their pairs every second.
ONE_OF = {"tiled": 3, "reference": 2}
# Masks that bound the keys of a query.
BOUNDED = ("window", "around", "causal & padding & window")
DENSER_MASKS = [name for name in MASKS if name not in SPARSE_MASKS]  # others: test_sparse


@pytest.fixture(autouse=True)
def kernels_on_a_cpu(monkeypatch):
    """Lets the kernels run here, in tiles that these lengths make several of."""
    interpret_kernels(monkeypatch.setattr)
    monkeypatch.setattr(pallas_gpu, "TILES", {256: ((32, 16), (32, 16), (16, 32))})


LENGTHS = [(1, 1), (1, 257), (257, 1), (257, 256)] + [
    tuple(pair) for pair in np.random.default_rng(0).integers(1, 258, (2, 2)).tolist()
]
DROPOUT = Case("additive", "window", "bs", sizes=(2, 5, 7, 4, 2, 3, 7), dropout=0.4)
GAUSSIAN = Case("dot", "around", sizes=SIZES, gaussian=True)
PAIRS = [Case(score, mask, bias="nts") for score, mask in itertools.product(SCORES, DENSER_MASKS)]
CASES = [
    *PAIRS,
    *(
        Case(score, "causal & left padding", bias, dtype)
        for score, bias, dtype in itertools.product(SCORES, (None, "bts"), ("bfloat16", "float16"))
    ),
    *(Case(bias=bias) for bias in ("s", "ns", "bs", "bnts")),
    *(Case(dtype=dtype, mask="padding") for dtype in ("bfloat16", "float16")),
    DROPOUT,
    *(Case(sizes=(2, 5, 7, n, k, 3, 6), mask="window") for n, k in ((1, 1), (3, 3), (6, 1))),
    *(
        Case(score, "causal & left padding", "n", sizes=(2, T, S, 3, 1, 4, 5))
        for (T, S), score in zip(LENGTHS, itertools.cycle(SCORES), strict=False)
    ),
    *(
        Case(score, mask, "nt", sizes=SIZES)
        for score, mask in zip(SCORES, itertools.cycle(BOUNDED), strict=False)
    ),
    Case("additive", "around", "b", "bfloat16", SIZES, gaussian=True),
    *(Case("general", "window", sizes=(2, T, S, 3, 1, 4, 5)) for T, S in ((1, 8), (40, 9))),
    GAUSSIAN,
    Case("location", "padding", "nts", gaussian=True),
    Case(mask="empty", gaussian=True),
]
# Kernels that are run an operation at a time take seconds too: they have cases of their own, of
# several tiles, and some of the others to refuse.
TILES, EIGHT = (2, 20, 37, 4, 2, 3, 6), (2, 9, 17, 4, 2, 8, 8)
KERNEL_CASES = {
    "ring": [],
    "cudnn": [Case(mask=mask, dtype="bfloat16", sizes=EIGHT) for mask in ("full", "causal")]
    + [Case("dot", "causal", dtype="bfloat16", sizes=EIGHT)],
    "hopper": [],
    "pallas": [
        Case("dot", "causal & left padding", sizes=TILES),
        Case("general", "around", sizes=TILES),
        Case("location_per_head", "segments", sizes=TILES),
        Case("scaled_dot", "window or padding", dtype="bfloat16", sizes=TILES),
        Case("general_per_head", "future of the segment", dtype="float16", sizes=TILES),
        Case(mask="causal & padding & window", sizes=(2, 1, 257, 3, 1, 4, 5)),
        Case(mask="window", sizes=(2, 20, 37, 4, 2, 3, 37), dropout=0.4),
        Case("location", "padding", dtype="bfloat16", sizes=TILES),
        Case(mask="full", dtype="float16", sizes=(2, 40, 33, 3, 3, 5, 4)),
        Case("dot", "causal", sizes=(2, 257, 9, 6, 1, 3, 6)),
        Case(mask="empty"),
    ],
    "splash": [
        Case("dot", "causal & left padding"),
        Case("general", "segments", dtype="bfloat16"),
        Case("location", "window", sizes=(2, 130, 9, 3, 1, 4, 5)),
    ],
}


def cases_of(implementation):
    if implementation not in KERNEL_CASES:
        # One mask further with each score, whether or not there are three times as many masks.
        turns = [number + number // len(DENSER_MASKS) for number in range(len(CASES))]
        if implementation == "reference":
            turns[len(PAIRS) :] = [0] * (len(CASES) - len(PAIRS))
        one_of = ONE_OF.get(implementation, 1)
        return [case for turn, case in zip(turns, CASES, strict=True) if turn % one_of == 0]
    refused = [case for case in CASES[::9] if not SUPPORTS[implementation](case)]
    return KERNEL_CASES[implementation] + refused


def verify(implementation, case):
    """Raises AssertionError where the implementation is not the oracle, within stated bounds."""
    # Loops, and a new shape, compile faster as a whole.
    as_whole = implementation in ("tiled", *KERNEL_CASES) or case.sizes != Case.sizes
    capture = None if implementation in NO_WEIGHTS else "all"
    transform = jax.jit if as_whole else lambda function: function
    assert not compare(implementation, case, transform, capture).wrong()


@pytest.mark.parametrize(
    ("implementation", "case"),
    [(i.name, case) for i in api.IMPLEMENTATIONS for case in cases_of(i.name)],
    ids=str,
)
def test_implementation_equals_oracle(implementation, case):
    if SUPPORTS[implementation](case):
        verify(implementation, case)
    else:
        with pytest.raises(NotImplementedError):
            verify(implementation, case)


@pytest.mark.parametrize("implementation", SUPPORTS)
def test_each_implementation_supports_exactly_the_expected_cases(implementation):
    for number, (_, case) in enumerate(matrix_cases()):
        # Of the modes and dtypes one each with a mechanism and mask, so that all pairs are met.
        mechanism, rest = divmod(number, 9 * len(MASKS))
        mask, mode_and_dtype = divmod(rest, 9)
        if divmod(mode_and_dtype, 3) != ((mechanism + mask) % 3, (mechanism + mask // 3) % 3):
            continue
        capture = None if implementation in NO_WEIGHTS else "all"
        supported = prepare(case, capture).unsupported(implementation) is None
        assert supported == SUPPORTS[implementation](case), str(case)
