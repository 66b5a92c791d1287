"""Published checkpoints at work: what they fill in, classify, embed and continue."""
