"""Seconds of PyTorch's scaled_dot_product_attention, one call for each case read.

A case is a JSON line with batch, heads, length, width, causal and gradient. A case with `window`,
the number of keys up to its own that a query sees, is timed with compiled flex_attention, which has
no gradient on a CPU. The first call of a case is not timed.
"""

import json
import sys
import time

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention


def make_run(case: dict):
    shape = case["batch"], case["length"], case["heads"], case["width"]
    generator = torch.Generator().manual_seed(0)
    arrays = [torch.randn(shape, generator=generator).transpose(1, 2) for _ in range(4)]
    *inputs, cotangent = arrays
    for array in inputs:
        array.requires_grad_(case["gradient"])

    if case.get("window"):
        return make_flex_run(inputs, case["window"])

    def run():
        context = scaled_dot_product_attention(*inputs, is_causal=case["causal"])
        return torch.autograd.grad(context, inputs, cotangent) if case["gradient"] else context

    return run


def make_flex_run(inputs: list[torch.Tensor], window: int):
    length = inputs[0].shape[2]

    def allowed(batch, head, query, key):
        return (query >= key) & (query - key < window)

    blocks = create_block_mask(allowed, None, None, length, length, device="cpu")
    compiled = torch.compile(flex_attention, dynamic=False)

    def run():
        with torch.no_grad():
            return compiled(*inputs, block_mask=blocks)

    return run


def main() -> None:
    runs = {}
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        if line not in runs:
            runs[line] = make_run(json.loads(line))
            runs[line]()
        start = time.perf_counter()
        runs[line]()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
