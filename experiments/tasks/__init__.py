"""Tasks: data, loss and metrics that papers share."""
