"""GPT-NeoX: LayerNorm, attention and MLP beside each other (or one after the other), a part of each head rotated."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from workflow_scripts.evaluation.engine.attention import View, attend
from workflow_scripts.evaluation.engine.linear_layers import activation_function, in_pieces, linear
from workflow_scripts.evaluation.engine.network import Network, Weights, in_pairs
from workflow_scripts.evaluation.scoring.model_folder import HEAD, NeoxConfig


@dataclass(frozen=True)
class NeoxLayer:
    """Weights of one layer; query, key and value rows are regrouped to [3, heads, head size].

    Coordinates of queries and keys that are turned together are side by side, which changes no product of the two.
    """

    norm_attention: tuple[torch.Tensor, torch.Tensor]
    norm_mlp: tuple[torch.Tensor, torch.Tensor]
    query_key_value: tuple[torch.Tensor, torch.Tensor]
    attention_out: tuple[torch.Tensor, torch.Tensor]
    mlp_in: tuple[torch.Tensor, torch.Tensor]
    mlp_out: tuple[torch.Tensor, torch.Tensor]


def make_layer(weights: Weights, number: int, config: NeoxConfig) -> NeoxLayer:
    """Take layer ``number`` out of ``weights``; the stored order of the joint projection is [heads, 3, head size]."""

    def both(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        prefix = f"gpt_neox.layers.{number}.{name}"
        return weights.pop(f"{prefix}.weight"), weights.pop(f"{prefix}.bias")

    weight, bias = both("attention.query_key_value")
    return NeoxLayer(
        both("input_layernorm"),
        both("post_attention_layernorm"),
        (regroup(weight, config), regroup(bias[:, None], config)[:, 0]),
        both("attention.dense"),
        both("mlp.dense_h_to_4h"),
        both("mlp.dense_4h_to_h"),
    )


def regroup(joint: torch.Tensor, config: NeoxConfig) -> torch.Tensor:
    """Rows of the joint projection, stored as [heads, 3, head size], in the order that :class:`NeoxLayer` has them."""
    grouped = joint.view(config.heads, 3, config.head_size, -1).transpose(0, 1).contiguous()
    order = in_pairs(config.rotary_size, joint.device)
    grouped[:2, :, : len(order)] = grouped[:2, :, order]
    return grouped.view(joint.shape)


class NeoxNetwork(Network[NeoxConfig, NeoxLayer]):
    """A GPT-NeoX checkpoint; its weights are taken out of ``weights`` one by one."""

    def __init__(self, config: NeoxConfig, weights: Weights, attention: str) -> None:
        self.layers = [make_layer(weights, number, config) for number in range(config.layers)]
        super().__init__(config, weights["gpt_neox.embed_in.weight"], weights.get(HEAD), attention)
        self.final_norm = (weights["gpt_neox.final_layer_norm.weight"], weights["gpt_neox.final_layer_norm.bias"])
        self.activation = activation_function(config.activation)

    def finish(self, states: torch.Tensor) -> torch.Tensor:
        """Final norm."""
        return functional.layer_norm(states, states.shape[-1:], *self.final_norm, self.config.layer_norm_eps)

    def mix(self, layer: NeoxLayer, states: torch.Tensor, view: View) -> torch.Tensor:
        """Norm and self-attention."""
        batch, length, width = states.shape
        before = states.flatten(0, 1)

        def project(rows: slice) -> torch.Tensor:
            normed = functional.layer_norm(before[rows], (width,), *layer.norm_attention, self.config.layer_norm_eps)
            return linear(normed, *layer.query_key_value)

        joint = in_pieces(before, project).view(batch, length, 3, self.config.heads, self.config.head_size)
        return attend(joint, view).reshape(batch, length, width)

    def feed(self, layer: NeoxLayer, mixed: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Output projection and MLP, each added to the residual stream."""
        attended = linear(mixed, *layer.attention_out)
        before = states if self.config.parallel_residual else states + attended
        normed = functional.layer_norm(before, before.shape[-1:], *layer.norm_mlp, self.config.layer_norm_eps)
        inner = linear(normed, *layer.mlp_in, self.activation)
        return linear(inner, *layer.mlp_out).add_(attended).add_(states)
