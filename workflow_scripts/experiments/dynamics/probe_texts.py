"""What a probe asks a model. Figures read this too, and are drawn where torch is not installed.

Rows of the training order, held-out text, random tokens that are repeated or, as a control, are not.
"""

TRAINING, HELD_OUT, REPEATED, UNREPEATED = "training", "held_out", "repeated", "unrepeated"
TEXTS, RANDOM = (TRAINING, HELD_OUT), (REPEATED, UNREPEATED)
