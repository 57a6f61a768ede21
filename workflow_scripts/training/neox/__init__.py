"""GPT-NeoX's own files: configurations and checkpoints."""
