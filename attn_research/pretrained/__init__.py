"""Published checkpoints: their containers, and their weights as parameter trees."""
