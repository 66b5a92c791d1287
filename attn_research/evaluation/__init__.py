"""Metrics of predictions: BLEU, alignment error rate, bracket F1, scores by length."""
