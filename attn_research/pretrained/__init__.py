"""Published checkpoints in the parameter trees of our models, and back."""
