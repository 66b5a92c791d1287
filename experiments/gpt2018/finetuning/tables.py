"""Scores of fine-tuned decoders, from results."""

from pathlib import Path

from experiments.harness.paper import Paper
from experiments.tasks.text_classification.tables import write_scores

# Radford et al. 2018, as we recall it.
PUBLISHED = {"GPT": {"sst2_phrases": 91.3, "cola": 45.4, "rte": 56.0, "mrpc": 82.3, "stsb": 82.0}}
_MEASURES = "from memory; F1 of MRPC, Pearson of STS-B, Matthews of CoLA, else accuracy"


def report(folder: Path, paper: Paper) -> None:
    """Writes the table of a folder of results."""
    write_scores(folder, paper, PUBLISHED, _MEASURES)
