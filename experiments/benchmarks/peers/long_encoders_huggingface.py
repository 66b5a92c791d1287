"""States and gradients of Hugging Face's Longformer and BigBird, and of its BERT with fused
attention, without dropout.
"""

from experiments.benchmarks import peers

try:
    import torch
    from torch import nn
    from transformers import (
        BertConfig,
        BertModel,
        BigBirdConfig,
        BigBirdModel,
        LongformerConfig,
        LongformerModel,
    )

    from experiments.benchmarks.peers.torch_step import prepare
except ModuleNotFoundError as error:
    raise peers.missing(error, __name__) from None

RATES = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)


def make_model(config: dict, kind: str) -> nn.Module:
    """The encoder of a kind, in training mode."""
    sizes = config["sizes"]
    shared = RATES | {
        "vocab_size": sizes["vocab_size"],
        "hidden_size": sizes["model_dim"],
        "intermediate_size": sizes["mlp_dim"],
        "num_hidden_layers": sizes["num_layers"],
        "num_attention_heads": sizes["num_heads"],
        "max_position_embeddings": config["length"],
    }
    match kind:
        case "bert":
            model = BertModel(BertConfig(**shared, attn_implementation="sdpa"))
        case "longformer":
            window = [config["window"]] * sizes["num_layers"]
            # positions begin after that of padding
            own = {"max_position_embeddings": config["length"] + 2, "type_vocab_size": 2}
            config_of_kind = LongformerConfig(**shared | own, attention_window=window)
            model = LongformerModel(config_of_kind, add_pooling_layer=False)
        case _:
            own = {"block_size": config["block"], "num_random_blocks": config["random_blocks"]}
            model = BigBirdModel(BigBirdConfig(**shared, **own, attention_type="block_sparse"))
    return model.train()


def make_step(config: dict, seed: int, kind: str = "") -> peers.Step:
    """A function from a batch to its loss, of which the gradients are computed too."""
    prepare(seed)
    kind = kind or config["kind"]
    model = make_model(config, kind)

    def step(batch: peers.Batch) -> float:
        ids = torch.from_numpy(batch["ids"]).long()
        given = {}
        if kind == "longformer":
            is_global = torch.zeros_like(ids)
            is_global[:, 0] = 1
            given["global_attention_mask"] = is_global
        states = model(input_ids=ids, **given).last_hidden_state
        loss = torch.sum(states * torch.from_numpy(batch["cotangents"]))
        model.zero_grad(set_to_none=True)
        loss.backward()
        return loss.item()

    return step
