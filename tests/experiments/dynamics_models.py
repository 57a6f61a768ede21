"""Random GPT-NeoX checkpoints of three shapes, made by transformers, for the tests of the dynamics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

SHAPES = {
    "deep": {"hidden_size": 32, "num_hidden_layers": 5, "num_attention_heads": 4, "intermediate_size": 128},
    "wide": {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 6, "intermediate_size": 384},
    "serial": {
        **{"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64},
        **{"use_parallel_residual": False, "hidden_act": "gelu_new", "vocab_size": 203},
    },
}
VOCABULARY, CONTEXT = 211, 64


def save_random(folder: Path, shape: str, seed: int = 0, scale: float = 4.0, vocabulary: int = VOCABULARY) -> Any:
    """Checkpoint of ``shape`` in ``folder``, scaled up so that attention is not flat; returns transformers' model."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(seed)
    settings = {"vocab_size": vocabulary, "max_position_embeddings": CONTEXT, "rotary_pct": 0.5} | SHAPES[shape]
    model = GPTNeoXForCausalLM(GPTNeoXConfig(attn_implementation="eager", **settings)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.mul_(scale)
            elif name.endswith("bias"):
                weight.normal_(0, 0.1)
    model.save_pretrained(folder)
    return model
