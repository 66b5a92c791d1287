"""Training: objectives, the step, placements, the loop, metrics and checkpoints; no models."""
