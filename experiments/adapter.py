"""The low-rank updates of a run as an adapter folder of the library peft.

python -m experiments.adapter --run=FOLDER --output=FOLDER

peft loads the folder over the model that the run began from.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from attn_research.data.files import user_path
from attn_research.pretrained.peft import Adapter, heads_of, write_adapter
from attn_research.training.lora import LORA, Adapted
from experiments.harness.flags import one_line_errors, parse_flags
from experiments.harness.path_flags import define_path
from experiments.harness.run_folder import load_run
from experiments.papers import find
from experiments.tasks.text_classification.encoder import is_head


def export(run: Path, output: Path) -> None:
    """Writes the adapter folder of a run; ValueError where the run has no low-rank updates."""
    kept = load_run(run, find)
    if not isinstance(kept.network, Adapted):
        raise ValueError(f"--run={run}: this run has no low-rank updates; give one of row lora")
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"--output={output} is not empty: name a new folder")
    model = kept.config.model
    if model.pooling != "class":
        raise ValueError(
            f"--run={run}: peft's library reads the state of the first token, and this run has "
            f"--pooling={model.pooling}"
        )
    saved = heads_of(kept.params, is_head)
    adapter = Adapter(model.rank, model.alpha, kept.params[LORA], saved)
    write_adapter(output, kept.network.network.bert, kept.params, adapter)


def main(argv: Sequence[str]) -> None:
    values = flags.FLAGS
    with one_line_errors(argv):
        for name in ("run", "output"):
            if not values[name].value:
                raise ValueError(f"--{name}=FOLDER is missing")
        export(user_path(values.run), user_path(values.output))
        print(f"adapter: {values.output}")


if __name__ == "__main__":
    define_path("run", "", "Folder of a run of low-rank updates.")
    define_path("output", "", "Folder to write, new or empty.")
    flags.DEFINE_bool("debug", False, "Show where an error came from.")
    app.run(main, flags_parser=parse_flags)
