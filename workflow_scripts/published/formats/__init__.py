"""Readers of the shapes of published result files."""
