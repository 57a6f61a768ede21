"""Plan by lm-eval, score, metrics, collection."""
