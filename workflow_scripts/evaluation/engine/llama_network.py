"""Llama and OLMo-2: RMSNorm, heads that share keys and values, whole heads rotated, a gated MLP, no biases.

Llama norms what goes into attention and MLP; OLMo-2 norms what comes out of them, and queries and keys over their full
width. transformers' LlamaForCausalLM and Olmo2ForCausalLM are the reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from workflow_scripts.evaluation.engine.attention import View, attend
from workflow_scripts.evaluation.engine.linear_layers import SILU, in_pieces, linear
from workflow_scripts.evaluation.engine.network import Network, Weights, in_pairs
from workflow_scripts.evaluation.scoring.llama_folder import LLAMA_HEAD, LlamaConfig


@dataclass(frozen=True)
class LlamaLayer:
    """Weights of one layer: rows of queries, keys and values joined; ``norms`` by their names in the checkpoint.

    Coordinates of queries and keys that are turned together are side by side, which changes no product of the two.
    """

    query_key_value: torch.Tensor
    attention_out: torch.Tensor
    gate: torch.Tensor
    up: torch.Tensor
    down: torch.Tensor
    norms: Mapping[str, torch.Tensor]


def make_layer(weights: Weights, number: int, config: LlamaConfig) -> LlamaLayer:
    """Take layer ``number`` out of ``weights``."""

    def take(name: str) -> torch.Tensor:
        return weights.pop(f"model.layers.{number}.{name}.weight")

    def turned(rows: torch.Tensor) -> torch.Tensor:
        heads = rows.view(-1, config.head_size, *rows.shape[1:])
        return heads[:, in_pairs(config.head_size, rows.device)].view(rows.shape)

    norms = {name: take(name) for name in config.norms}
    norms |= {name: turned(norms[name]) for name in norms if name.startswith("self_attn.")}
    query, key, value = (take(f"self_attn.{name}_proj") for name in "qkv")
    return LlamaLayer(
        torch.cat([turned(query), turned(key), value]),
        take("self_attn.o_proj"),
        take("mlp.gate_proj"),
        take("mlp.up_proj"),
        take("mlp.down_proj"),
        norms,
    )


class LlamaNetwork(Network[LlamaConfig, LlamaLayer]):
    """A Llama checkpoint; its weights are taken out of ``weights`` one by one."""

    def __init__(self, config: LlamaConfig, weights: Weights, attention: str) -> None:
        self.layers = [make_layer(weights, number, config) for number in range(config.layers)]
        super().__init__(config, weights["model.embed_tokens.weight"], weights.get(LLAMA_HEAD), attention)
        self.final_norm = weights["model.norm.weight"]

    def norm(self, states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """RMSNorm over the last dimension."""
        return functional.rms_norm(states, weight.shape, weight, self.config.norm_eps)

    def finish(self, states: torch.Tensor) -> torch.Tensor:
        """Final norm."""
        return self.norm(states, self.final_norm)

    def project(self, layer: LlamaLayer, states: torch.Tensor) -> torch.Tensor:
        """Queries, keys and values side by side, [B, T, (heads + 2 key heads) x head size]."""
        rows = states.flatten(0, 1)

        def normed_product(part: slice) -> torch.Tensor:
            return linear(self.norm(rows[part], layer.norms["input_layernorm"]), layer.query_key_value)

        return in_pieces(rows, normed_product).view(*states.shape[:2], -1)

    def mix(self, layer: LlamaLayer, states: torch.Tensor, view: View) -> torch.Tensor:
        """Norm and self-attention."""
        config, (batch, length, _) = self.config, states.shape
        joint = self.project(layer, states)
        query, pair = joint.tensor_split([config.query_width], -1)
        # Each key and value once for every query head that shares it: attend() knows as many keys as queries.
        packed = joint.new_empty(3, batch, config.heads, length, config.head_size)
        packed[0] = query.view(batch, length, config.heads, -1).transpose(1, 2)
        shared = pair.reshape(batch, length, 2, config.key_heads, 1, config.head_size).permute(2, 0, 3, 4, 1, 5)
        packed[1:].view(2, batch, config.key_heads, -1, length, config.head_size).copy_(shared)
        return attend(packed.permute(1, 3, 0, 2, 4), view).reshape(batch, length, config.query_width)

    def feed(self, layer: LlamaLayer, mixed: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Output projection and MLP, each added to the residual stream."""
        before = linear(mixed, layer.attention_out).add_(states)
        return self.gated(layer, self.norm(before, layer.norms["post_attention_layernorm"])).add_(before)

    def gated(self, layer: LlamaLayer, states: torch.Tensor) -> torch.Tensor:
        """The MLP, of which one projection gates the other."""
        return linear(linear(states, layer.gate, None, SILU).mul_(linear(states, layer.up)), layer.down)


class Olmo2Network(LlamaNetwork):
    """An OLMo-2 checkpoint."""

    def project(self, layer: LlamaLayer, states: torch.Tensor) -> torch.Tensor:
        """Queries and keys, normed, and values side by side."""
        query_width, key_width = self.config.query_width, self.config.key_width
        rows = states.flatten(0, 1)
        joint = in_pieces(rows, lambda part: linear(rows[part], layer.query_key_value)).view(*states.shape[:2], -1)
        query, key = joint[..., :query_width], joint[..., query_width : query_width + key_width]
        query.copy_(self.norm(query, layer.norms["self_attn.q_norm"]))
        key.copy_(self.norm(key, layer.norms["self_attn.k_norm"]))
        return joint

    def feed(self, layer: LlamaLayer, mixed: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Output projection and MLP, each added to the residual stream."""
        attended = linear(mixed, layer.attention_out)
        before = self.norm(attended, layer.norms["post_attention_layernorm"]).add_(states)
        return self.norm(self.gated(layer, before), layer.norms["post_feedforward_layernorm"]).add_(before)
