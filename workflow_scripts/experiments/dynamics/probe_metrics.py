"""Metrics of a model's answers to the probe, each a function under its name. docs/experiments/dynamics.md adds one.

A metric is a function of one place in the model, for rows of tokens, and returns a value per row [rows] or per row and
head [rows, heads]; their means with 95 % intervals over rows go into the table. Its name stands in
config/schemas/dynamics.schema.yaml too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from workflow_scripts.experiments.dynamics.probe_model import Place
from workflow_scripts.experiments.dynamics.probe_texts import RANDOM, TEXTS

Function = Callable[[Place], Tensor]


@dataclass(frozen=True)
class ProbeMetric:
    """A metric, the kinds of rows it is taken on, and whether it looks at attention (so not behind the last layer)."""

    measure: Function
    rows: Collection[str]
    of_attention: bool


PROBE_METRICS: dict[str, ProbeMetric] = {}


def probe_metric(rows: Collection[str], *, of_attention: bool = False) -> Callable[[Function], Function]:
    """Decorator: the function is a metric under its own name, of the given kinds of rows."""

    def register(function: Function) -> Function:
        PROBE_METRICS[function.__name__] = ProbeMetric(function, rows, of_attention)
        return function

    return register


@probe_metric(TEXTS)
def residual_norm(place: Place) -> Tensor:
    """Mean length of the residual stream over the tokens of a row."""
    lengths: Tensor = torch.linalg.vector_norm(place.states, dim=-1)
    return lengths.mean(1)


@probe_metric(TEXTS)
def logit_lens(place: Place) -> Tensor:
    """Loss, nats per token, when final norm and output head read this place (nostalgebraist 2020)."""
    return place.model.losses(place)


@probe_metric(TEXTS, of_attention=True)
def attention_entropy(place: Place) -> Tensor:
    """Entropy of a head's attention by that of uniform attention over what it may see, without the first token; mean.

    1 is uniform attention, 0 attention to one token.
    """
    seen: Tensor = torch.special.entr(given(place)).sum(-1)[:, :, 1:]
    most = torch.arange(2, seen.shape[-1] + 2, device=seen.device).log()
    return (seen / most).mean(-1)


@probe_metric(RANDOM, of_attention=True)
def induction(place: Place) -> Tensor:
    """Attention from a token of the second half to the one behind its first occurrence (Olsson et al. 2022), mean.

    Rows are n random tokens twice; on rows that do not repeat, the same places give what position alone explains.
    """
    attention, half = given(place), place.states.shape[1] // 2
    return attention.diagonal(1 - half, dim1=-2, dim2=-1)[..., 1:half].mean(-1)


def given(place: Place) -> Tensor:
    """The attention of a place that has one."""
    if place.attention is None:
        raise TypeError("there is no attention behind the last layer")
    return place.attention
