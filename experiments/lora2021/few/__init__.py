"""Few labelled sentences: full fine-tuning beside low-rank updates."""
