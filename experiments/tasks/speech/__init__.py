"""Recognition of speech, and classification of spoken words."""
