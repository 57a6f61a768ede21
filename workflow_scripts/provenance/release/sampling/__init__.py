"""What is too much to compute again as a whole: drawn by a seed, recomputed, compared, and what follows from it."""
