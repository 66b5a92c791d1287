"""Sentence pairs: corpora, tokenizers and encoding to ids."""
