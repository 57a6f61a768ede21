"""The order of training: index maps, rows, batches and look-ups."""
