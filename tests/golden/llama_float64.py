"""Llama in NumPy, for logits in float64: one text, no cache."""

import numpy as np


def llama_logits(config, weights, ids):
    """The logits [T, V] of a text, of Hugging Face's config and its float64 tensors by name."""
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    width, length = config.hidden_size // heads, len(ids)
    steps = config.rope_parameters["rope_theta"] ** (-np.arange(0, width, 2) / width)
    turned = np.arange(length)[:, None, None] * steps
    causal = np.tril(np.ones((length, length), bool))

    def norm(states, name):
        mean = (states * states).mean(-1, keepdims=True)
        return states / np.sqrt(mean + config.rms_norm_eps) * weights[f"{name}.weight"]

    def linear(states, name):
        return states @ weights[f"{name}.weight"].T

    def rotate(states):
        first, second = np.split(states, 2, axis=-1)
        cos, sin = np.cos(turned), np.sin(turned)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def attend(states, name):
        query, key, value = (
            linear(states, f"{name}.{part}_proj").reshape(length, -1, width) for part in "qkv"
        )
        key, value = (np.repeat(x, heads // groups, axis=1) for x in (rotate(key), value))
        scores = np.einsum("tnh,snh->nts", rotate(query), key) / np.sqrt(width)
        raised = np.where(causal, np.exp(scores - scores.max(-1, keepdims=True)), 0)
        weighted = raised / raised.sum(-1, keepdims=True)
        context = np.einsum("nts,snh->tnh", weighted, value).reshape(length, -1)
        return linear(context, f"{name}.o_proj")

    def feed_forward(states, name):
        gate = linear(states, f"{name}.gate_proj")
        return linear(
            gate / (1 + np.exp(-gate)) * linear(states, f"{name}.up_proj"), f"{name}.down_proj"
        )

    states = weights["model.embed_tokens.weight"][ids]
    for layer in range(config.num_hidden_layers):
        name = f"model.layers.{layer}"
        states = states + attend(norm(states, f"{name}.input_layernorm"), f"{name}.self_attn")
        normed = norm(states, f"{name}.post_attention_layernorm")
        states = states + feed_forward(normed, f"{name}.mlp")
    return norm(states, "model.norm") @ weights["model.embed_tokens.weight"].T
