"""Tables, plots and attention maps."""
