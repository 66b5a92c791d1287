"""Loss and gradients of Hugging Face's `GPT2LMHeadModel` and `BertForMaskedLM`, without dropout.

Attention is PyTorch's fused.
"""

from experiments.benchmarks import peers

try:
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

    from experiments.benchmarks.peers.torch_step import prepare
except ModuleNotFoundError as error:
    raise peers.missing(error, __name__) from None


def make_step(config: dict, seed: int) -> peers.Step:
    """A function from a batch to its mean loss, of which the gradients are computed too."""
    prepare(seed)
    shared = {"vocab_size": config["vocab_size"], "attn_implementation": "sdpa"}
    if config["kind"] == "bert":
        sizes = {
            "hidden_size": config["model_dim"],
            "intermediate_size": config["mlp_dim"],
            "num_hidden_layers": config["num_layers"],
            "num_attention_heads": config["num_heads"],
        }
        rates = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
        model = BertForMaskedLM(BertConfig(**shared, **sizes, **rates))
    else:
        sizes = {
            "n_embd": config["model_dim"],
            "n_inner": config["mlp_dim"],
            "n_layer": config["num_layers"],
            "n_head": config["num_heads"],
        }
        rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        model = GPT2LMHeadModel(GPT2Config(**shared, **sizes, **rates))
    model.train()

    def step(batch: peers.Batch) -> float:
        logits = model(input_ids=torch.from_numpy(batch["ids"]).long()).logits
        targets = torch.from_numpy(batch["targets"]).long()
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
        model.zero_grad(set_to_none=True)
        loss.backward()
        return loss.item()

    return step
