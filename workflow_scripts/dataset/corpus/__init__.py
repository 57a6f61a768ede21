"""Text and tokenizers, from which token files are made."""
