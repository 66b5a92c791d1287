"""Classification of texts, pairs of texts and words, and regression."""
