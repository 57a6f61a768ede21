"""One training: model, optimizer, schedule, processes, checkpoints."""
