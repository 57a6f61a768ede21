"""What happens inside a model during training: metrics of its weights, and of its answers to a fixed probe."""
