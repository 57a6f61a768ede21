"""When did a model see a text, and what did it do to it? Exposures, losses over training, and the effect."""
