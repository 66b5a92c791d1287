"""The built-in English-French corpus: a synchronous grammar with gold word links."""
