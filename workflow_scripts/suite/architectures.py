"""The architecture of a model whose suite says nothing else; apart from the models, for programs that know no suite."""

GPT_NEOX = "gpt_neox"
