"""Recipe, model, schedule, trainer, checkpoints on disk, publishing."""
