"""Memorization: greedy continuation, scored rows, exposures."""
