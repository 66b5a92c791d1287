"""Fine-tuning of a decoder on labelled texts."""
