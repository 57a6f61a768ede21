"""AdamW as the suite used it: decoupled decay on matrices only, clipping by the global norm, state as named tensors.

Source: DeepSpeed's FusedAdam in AdamW mode with bias correction, and gpt-neox's parameter groups: no decay on layer
norms and on anything called bias; decay on all matrices, both embeddings included. It must not decide a learning
rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from workflow_scripts.errors import ModelError
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run.processes import is_sharded, local, norm_squares, shared_like

MOMENTS = ("exp_avg", "exp_avg_sq")


def has_decay(name: str) -> bool:
    """Whether the parameter called ``name`` decays."""
    return not (name.endswith("bias") or "layernorm" in name or "layer_norm" in name)


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over the two groups; its learning rate is 0 until the trainer sets it before each step."""
    named = list(model.named_parameters())
    groups = [
        {"params": [p for name, p in named if has_decay(name)], "weight_decay": recipe.weight_decay},
        {"params": [p for name, p in named if not has_decay(name)], "weight_decay": 0.0},
    ]
    # torch's fused CPU kernel does not take sharded parameters; the plain form gives the same to rounding.
    needs_plain = any(is_sharded(p) and p.device.type == "cpu" for _, p in named)
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=recipe.epsilon, fused=None if needs_plain else True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use ``rate`` in the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(gradients: Iterable[Tensor], limit: float, divisor: float = 1.0) -> Tensor:
    """Divide all gradients by ``divisor``, then scale them so that their global L2 norm is at most ``limit``.

    Returns the norm after the division and before the clipping, float32 on the gradients' device; the factor is
    1 / max(1, (norm + 1e-6) / limit), as in DeepSpeed. An infinite or NaN norm leaves the gradients useless: the caller
    must look at it when that can happen.
    """
    tensors = list(gradients)
    norm = norm_squares(tensors).sqrt() / divisor
    factor = torch.clamp((norm + 1e-6) / limit, min=1.0).mul_(divisor).reciprocal_()
    torch._foreach_mul_([local(tensor) for tensor in tensors], factor)
    return norm


def state_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Both moments of every parameter, sharded as it is, as ``exp_avg/<name>`` and ``exp_avg_sq/<name>``.

    Empty before the first step.
    """
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter, {})
        found |= {f"{moment}/{name}": state[moment].detach() for moment in MOMENTS if moment in state}
    return found


def load_state_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], steps_taken: int
) -> None:
    """Give ``optimizer`` the moments that ``state_tensors`` returned after ``steps_taken`` steps."""
    for name, parameter in model.named_parameters():
        missing = [moment for moment in MOMENTS if f"{moment}/{name}" not in tensors]
        if missing:
            raise ModelError(f"optimizer state: {missing[0]}/{name} is missing; the checkpoint is not complete")
        found = {moment: tensors[f"{moment}/{name}"] for moment in MOMENTS}
        if any(tensor.shape != parameter.shape for tensor in found.values()):
            raise ModelError(f"optimizer state of {name} has another shape than the parameter {tuple(parameter.shape)}")
        moments = {moment: shared_like(parameter, tensor) for moment, tensor in found.items()}
        count = torch.tensor(float(steps_taken), dtype=torch.float32, device=parameter.device)
        optimizer.state[parameter] = {"step": count, **moments}


def adopt_state(model: nn.Module, optimizer: torch.optim.Optimizer, steps_taken: int) -> dict[str, Tensor]:
    """Give ``optimizer`` zero moments as they are after ``steps_taken`` steps; returns them by name, to be filled."""
    for parameter in model.parameters():
        count = torch.tensor(float(steps_taken), dtype=torch.float32, device=parameter.device)
        moments = {moment: torch.zeros_like(parameter, requires_grad=False) for moment in MOMENTS}
        optimizer.state[parameter] = {"step": count, **moments}
    return state_tensors(model, optimizer)
