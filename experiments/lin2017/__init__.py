"""Lin et al. 2017: structured self-attention over a sentence."""
