"""What lm-eval asks for, tokenised and packed once for all checkpoints."""
