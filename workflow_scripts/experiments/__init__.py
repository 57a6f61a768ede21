"""Memorization, bias, term frequency, predictability."""
