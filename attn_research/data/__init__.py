"""Corpora, tokenizers, records and batches; nothing here touches a device."""
