"""Starting weights: which standard deviation each matrix has, and a draw that is the same on every machine.

The originals were drawn on GPUs in half precision from a model-parallel CUDA generator and cannot be drawn again; the
exact start of a released model is its published ``step0``. Here each tensor has its own stream, so that a rank may draw
only what it holds. It must not touch the global random state of torch or numpy.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run.model import GPTNeoX
from workflow_scripts.training.run.processes import fill

OUTPUT_MATRICES = ("attention.dense.weight", "mlp.dense_4h_to_h.weight")
NEOX_STANDARD_DEVIATION = 0.02


def standard_deviation(recipe: Recipe, name: str) -> float:
    """Standard deviation of the matrix called ``name``.

    ``small_wang``: small_init sqrt(2 / 5d) (Nguyen & Salazar 2019) and, for the two matrices of a layer that write to
    the residual stream, wang_init 2 / (L sqrt d) (Wang & Komatsuzaki 2021). ``neox_default`` (6.9b and 12b): 0.02
    and 0.02 / sqrt(2 L).
    """
    is_output = name.endswith(OUTPUT_MATRICES)
    if recipe.initialisation == "small_wang":
        small, wang = math.sqrt(2 / (5 * recipe.hidden_size)), 2 / (recipe.layers * math.sqrt(recipe.hidden_size))
        return wang if is_output else small
    return NEOX_STANDARD_DEVIATION / math.sqrt(2 * recipe.layers) if is_output else NEOX_STANDARD_DEVIATION


def starting_tensor(recipe: Recipe, name: str, number: int, shape: torch.Size) -> Tensor:
    """Float32 starting value of the parameter ``name``, which is the ``number``-th of the state dict.

    Norm weights are 1 and biases 0. Matrices come from numpy's ``RandomState``, whose stream numpy has frozen, seeded
    with (weight_seed, number).
    """
    if name.endswith("bias"):
        return torch.zeros(shape)
    if "layernorm" in name or "layer_norm" in name:
        return torch.ones(shape)
    stream = np.random.RandomState(np.random.MT19937(np.random.SeedSequence((recipe.weight_seed, number))))
    drawn = stream.standard_normal(tuple(shape)) * standard_deviation(recipe, name)
    return torch.from_numpy(drawn.astype(np.float32))


def initialise(model: GPTNeoX, recipe: Recipe) -> None:
    """Fill every parameter of ``model`` in place."""
    for number, (name, parameter) in enumerate(model.named_parameters()):
        fill(parameter, starting_tensor(recipe, name, number, parameter.shape))
