"""Writes sparse.npz: Longformer's and BigBird's (block sparse) attention of Hugging Face.

python tests/golden/make_sparse.py        needs torch and transformers; the tests need neither

Small sizes and random arrays. BigBird draws its random blocks in training alone, so it is in that
mode here, where this attention has no dropout; the blocks that it drew are kept beside the results.
"""

import pathlib

import numpy as np
import torch
from transformers import BigBirdConfig, LongformerConfig
from transformers.models.big_bird.modeling_big_bird import (
    BigBirdBlockSparseAttention,
    BigBirdModel,
)
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

HEADS, WIDTH = 3, 12
ONE_SIDE, LONGFORMER_LENGTH = 2, 24
BLOCK, RANDOM_BLOCKS, BIG_BIRD_LENGTH = 4, 2, 48
PROJECTIONS = "query", "key", "value", "query_global", "key_global", "value_global"


def main() -> None:
    torch.manual_seed(0)
    found = {f"longformer/{name}": array for name, array in longformer().items()}
    found |= {f"big_bird/{name}": array for name, array in big_bird().items()}
    path = pathlib.Path(__file__).with_name("sparse.npz")
    np.savez_compressed(path, **{name: np.asarray(array) for name, array in found.items()})


def longformer() -> dict[str, np.ndarray]:
    """States, which tokens are real and global, projections; contexts and gradients of states."""
    config = LongformerConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        attention_window=[2 * ONE_SIDE],
        attention_probs_dropout_prob=0.0,
    )
    layer = LongformerSelfAttention(config, layer_id=0).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0.0, 0.4)
    states = torch.randn(2, LONGFORMER_LENGTH, WIDTH, requires_grad=True)
    valid = torch.arange(LONGFORMER_LENGTH)[None] < torch.tensor([[LONGFORMER_LENGTH], [19]])
    is_global = torch.zeros_like(valid)
    is_global[0, [0, 9, 10]] = True
    is_global[1, [0, 18]] = True
    (context,) = layer(
        states,
        attention_mask=torch.where(valid, 0.0, -10000.0) + 10000.0 * is_global,
        is_index_masked=~valid,
        is_index_global_attn=is_global,
        is_global_attn=True,
    )[:1]
    weighed = (torch.cos(context) * valid[..., None]).sum()
    (gradient,) = torch.autograd.grad(weighed, states)
    arrays = {"states": states, "valid": valid, "global": is_global, "context": context}
    arrays |= {"d_states": gradient}
    for name in PROJECTIONS:
        arrays[f"{name}/kernel"] = getattr(layer, name).weight.T
        arrays[f"{name}/bias"] = getattr(layer, name).bias
    return {name: array.detach().numpy() for name, array in arrays.items()}


def big_bird() -> dict[str, np.ndarray]:
    """Queries, keys and values [B, T, N, H], real tokens and random blocks; contexts, gradients."""
    config = BigBirdConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        block_size=BLOCK,
        num_random_blocks=RANDOM_BLOCKS,
        max_position_embeddings=BIG_BIRD_LENGTH,
        attention_probs_dropout_prob=0.0,
    )
    layer = BigBirdBlockSparseAttention(config, seed=3).train()
    drawn = []
    record(layer, drawn)
    shape = 2, HEADS, BIG_BIRD_LENGTH, WIDTH // HEADS
    arrays = [torch.randn(shape, requires_grad=True) for _ in range(3)]
    valid = torch.arange(BIG_BIRD_LENGTH)[None] < torch.tensor([[BIG_BIRD_LENGTH], [37]])
    blocked, band, from_mask, to_mask = BigBirdModel.create_masks_for_block_sparse_attn(
        valid.float(), BLOCK
    )
    context, _ = layer.bigbird_block_sparse_attention(
        *arrays,
        band,
        from_mask,
        to_mask,
        blocked,
        blocked,
        HEADS,
        RANDOM_BLOCKS,
        WIDTH // HEADS,
        BLOCK,
        BLOCK,
        2,
        BIG_BIRD_LENGTH,
        BIG_BIRD_LENGTH,
        seed=3,
        plan_from_length=None,
        plan_num_rand_blocks=None,
    )
    context = context.reshape(2, BIG_BIRD_LENGTH, HEADS, -1)
    weighed = (torch.cos(context) * valid[..., None, None]).sum()
    gradients = torch.autograd.grad(weighed, arrays)
    names = "query", "key", "value"
    found = {name: x.transpose(1, 2) for name, x in zip(names, arrays, strict=True)}
    found |= {f"d_{name}": x.transpose(1, 2) for name, x in zip(names, gradients, strict=True)}
    found |= {"context": context, "valid": valid}
    return {name: x.detach().numpy() for name, x in found.items()} | {"blocks": drawn[0]}


def record(attention, drawn):
    """Has a layer of BigBird keep the blocks that it draws for the first of a batch."""
    make_mask = attention._create_rand_mask_from_inputs

    def recording(from_mask, to_mask, rand_attn, *sizes):
        drawn.append(rand_attn[0].numpy())
        return make_mask(from_mask, to_mask, rand_attn, *sizes)

    attention._create_rand_mask_from_inputs = recording


if __name__ == "__main__":
    main()
