"""Tests and fits that the experiments share."""
