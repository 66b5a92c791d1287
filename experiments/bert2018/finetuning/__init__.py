"""Fine-tuning of BERT on labelled texts."""
