"""Translation: pairs of sentences, alignments and parse trees written as text."""
