"""BLEU, alignment error rate, scores by length."""
