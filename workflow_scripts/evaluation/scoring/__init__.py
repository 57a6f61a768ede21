"""From log-probabilities to results files."""
