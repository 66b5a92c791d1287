"""Beam search of transformers beside ours, and its rule in Python.

python -m tests.golden.beam_of_transformers        needs torch and transformers; the tests do not

It prints how many of 24 prompts GPT-2's golden model continues alike: by ours and transformers, and
by the rule and transformers. One of its likely tokens is the end of a text.

By the rule hypotheses that end leave the beam, so that as many as its size always go on, and the
best of them are kept apart; it is over where the best unfinished one, at its present length, has no
higher score than all of those. Ours lets finished hypotheses keep their place in the beam.
"""

import json
import pathlib
import tempfile

import jax
import numpy as np

from attn_research.decoding import Beam, generate
from attn_research.layers.decoders import Decoder
from attn_research.pretrained import save
from tests.pretrained.golden import pretrained

SIZE, NUM_TOKENS, LENGTH = 4, 9, 20


def main() -> None:
    import torch
    import transformers

    network, params = pretrained("gpt2")
    rng = np.random.default_rng(0)
    prompts = [rng.integers(8, 29, rng.integers(2, 9)).tolist() for _ in range(24)]
    options = dict(num_tokens=NUM_TOKENS, strategy=Beam(SIZE))
    free = generate(Decoder((network,)), (params,), prompts, **options)
    tokens, times = np.unique([t for each in free for t in each.tokens], return_counts=True)
    end = int(tokens[np.argsort(-times)[1]])
    prompts = [[token for token in prompt if token != end] or [9] for prompt in prompts]
    ours = generate(Decoder((network,)), (params,), prompts, end=(end,), **options)
    with tempfile.TemporaryDirectory() as folder:
        save(folder, network, params)
        config = json.loads((pathlib.Path(folder) / "config.json").read_text())
        original = getattr(transformers, config["architectures"][0]).from_pretrained(folder)
    run = jax.jit(lambda ids, valid: jax.nn.log_softmax(network.apply(params, ids, valid).logits))
    equal, by_rule, ended = 0, 0, 0
    for prompt, each in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt])
        found = original.eval().generate(
            ids,
            attention_mask=torch.ones_like(ids),
            num_beams=SIZE,
            do_sample=False,
            max_new_tokens=NUM_TOKENS,
            length_penalty=1.0,
            early_stopping=False,
            eos_token_id=end,
            pad_token_id=0,
        )
        theirs = before_end(found[0, len(prompt) :].tolist(), end)

        def log_probs(tokens, prompt=prompt):
            text = [*prompt, *tokens]
            row = np.pad(np.int32(text), (0, LENGTH - len(text)))[None]
            return np.asarray(run(row, np.arange(LENGTH)[None] < len(text))[0, len(text) - 1])

        equal += list(each.tokens) == theirs
        by_rule += before_end(best_hypothesis(log_probs, end), end) == theirs
        ended += len(theirs) < NUM_TOKENS
    print(f"ours {equal} of 24, by the rule {by_rule}; {ended} end before {NUM_TOKENS} tokens")


def before_end(tokens, end):
    """The tokens before the end symbol."""
    return list(tokens[: tokens.index(end)] if end in tokens else tokens)


def best_hypothesis(log_probs, end, alpha=1.0):
    """The tokens of the best hypothesis by the rule; `log_probs(tokens)` are of the next."""
    beam, finished = [(0.0, ())], []
    for length in range(1, NUM_TOKENS + 1):
        grown = [
            (total + each, (*tokens, token))
            for total, tokens in beam
            for token, each in enumerate(log_probs(tokens))
        ]
        grown = sorted(grown, key=lambda pair: -pair[0])[: 2 * SIZE]
        over = [pair for pair in grown[:SIZE] if pair[1][-1] == end or length == NUM_TOKENS]
        finished += [(total / length**alpha, tokens) for total, tokens in over]
        finished = sorted(finished, key=lambda pair: -pair[0])[:SIZE]
        beam = [pair for pair in grown if pair[1][-1] != end][:SIZE]
        if len(finished) == SIZE and beam[0][0] / length**alpha <= finished[-1][0]:
            break
    return finished[0][1]


if __name__ == "__main__":
    main()
