"""Parity of a published checkpoint with arrays that the original library computed.

python -m experiments.parity --checkpoint=FOLDER --arrays=FILE.npz

The arrays are called input.NAME and output.NAME, by the argument and output names of the original:
input_ids, attention_mask, token_type_ids, position_ids, global_attention_mask, decoder_input_ids,
pixel_values, input_features; last_hidden_state, pooler_output, logits, prediction_logits,
hidden_states [B, L + 1, T, D], attentions [B, L, N, T, T], or hidden_states.N and attentions.N of
one block, and those of encoders and decoders, such as encoder_last_hidden_state and
cross_attentions. The exit status is 1 where a value v differs by more than 1e-4 + 1e-4 |v|.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from attn_research.data.files import read_npz, user_path
from attn_research.pretrained import from_checkpoint, read_checkpoint
from attn_research.pretrained.parity import differences, first_departure
from attn_research.pretrained.running import run_network
from experiments.harness.flags import one_line_errors, parse_flags
from experiments.harness.path_flags import define_path


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The inputs and outputs in a file; ValueError where it has none, or is damaged."""
    arrays = read_npz(path, f"--arrays={path}")
    kinds = [
        {name.removeprefix(kind): x for name, x in arrays.items() if name.startswith(kind)}
        for kind in ("input.", "output.")
    ]
    if not all(kinds):
        raise ValueError(f"--arrays={path}: no arrays are called input.NAME and output.NAME")
    return kinds[0], kinds[1]


def main(argv: Sequence[str]) -> None:
    values = flags.FLAGS
    with one_line_errors(argv):
        for name in ("checkpoint", "arrays"):
            if not values[name].value:
                raise ValueError(f"--{name} is missing")
        inputs, expected = read_arrays(user_path(values.arrays))
        pretrained = from_checkpoint(read_checkpoint(values.checkpoint))
        found = run_network(pretrained, inputs)
        rows = list(differences(found, expected, inputs))
    for row in rows:
        verdict = "equal" if row.holds else f"DIFFERS at {list(row.place)}"
        print(f"{row.name:<24} {row.largest:9.2e}  {verdict}")
    if not all(row.holds for row in rows):
        where = first_departure(found, expected, inputs)
        sys.exit(f"error: outputs differ{f'; first in {where}' if where else ''}")


if __name__ == "__main__":
    define_path("checkpoint", "", "Folder of a published checkpoint.")
    define_path("arrays", "", "File of arrays input.NAME and output.NAME.")
    flags.DEFINE_bool("debug", False, "Show where an error came from.")
    app.run(main, flags_parser=parse_flags)
