"""Figures of what happens inside the models over training."""
