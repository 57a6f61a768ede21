"""What is what: models, data sets, steps, names, and what a run may ask for. Imports no other stage."""

# Architecture of a model whose suite says nothing else; here, for programs that need no more of a suite.
GPT_NEOX = "gpt_neox"
