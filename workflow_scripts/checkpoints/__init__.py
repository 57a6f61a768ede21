"""Fetching and checking published checkpoints."""
