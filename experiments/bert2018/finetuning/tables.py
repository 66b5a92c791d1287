"""Scores of fine-tuned encoders, from results."""

from pathlib import Path

from experiments.harness.paper import Paper
from experiments.tasks.text_classification.tables import write_scores

# As printed: Devlin et al. 2018 of base, Turc et al. 2019 of the sizes below; WNUT17 of the cased
# large model, by the library transformers.
PUBLISHED = {
    "BERT-tiny": {"sst2_phrases": 83.2, "cola": 0.0, "rte": 57.2},
    "BERT-mini": {"sst2_phrases": 85.9, "cola": 0.0, "rte": 57.9},
    "BERT-small": {"sst2_phrases": 89.7, "cola": 27.8, "rte": 61.8},
    "BERT-medium": {"sst2_phrases": 89.6, "cola": 38.0, "rte": 62.2},
    "BERT-base": {"sst2_phrases": 93.5, "cola": 52.1, "rte": 66.4, "mrpc": 88.9, "stsb": 85.8},
    "BERT-large": {"wnut17": 47.4},
}
_MEASURES = "F1 of MRPC and WNUT17, Spearman of STS-B, Matthews of CoLA, else accuracy"


def report(folder: Path, paper: Paper) -> None:
    """Writes the table of a folder of results."""
    write_scores(folder, paper, PUBLISHED, _MEASURES)
