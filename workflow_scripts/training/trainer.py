"""Trains one model from a recipe and rows in their order, so that stopping and going on changes no bit.

Iteration i (0, 1 ...) consumes rows [batch_rows * i, batch_rows * (i + 1)) and makes the weights of step i + 1. Under
``neox_v1`` the first iteration has learning rate 0: the weights of step 1 equal those of step 0. Weights and moments
are float32; 16-bit compute is autocast. Results are the same bits for the same recipe, rows, number of threads and
micro-batch on the same kind of processor.

It must never skip a row, use a random number, or write a checkpoint after a loss that is no number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from workflow_scripts.errors import ConfigError
from workflow_scripts.progress import Progress
from workflow_scripts.training import checkpoint
from workflow_scripts.training.checkpoint import RunState
from workflow_scripts.training.loss import chunked_cross_entropy
from workflow_scripts.training.metrics import MetricsLog, StepMetrics
from workflow_scripts.training.model import DTYPES, GPTNeoX
from workflow_scripts.training.optimizer import clip_gradients, set_learning_rate, state_tensors
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.rows import RowSource, batch_of, micro_batches
from workflow_scripts.training.schedule import learning_rate

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What one process does: from which step to which, in what portions, and what it keeps.

    ``micro_batch`` rows go through the network at once; ``keep_optimizer`` are steps that are saved with their
    moments, in the recipe's grid or not, and never pruned.
    """

    run: Path
    stop_at: int
    micro_batch: int
    keep_optimizer: Collection[int] = ()


class Trainer:
    """The loop over iterations of one run."""

    def __init__(
        self,
        recipe: Recipe,
        source: RowSource,
        *,
        model: GPTNeoX,
        optimizer: torch.optim.Optimizer,
        state: RunState,
        plan: Plan,
    ) -> None:
        """Join the parts; ``model`` and ``optimizer`` hold the values of ``state.step``."""
        self.recipe = recipe
        self.source = source
        self.model = model
        self.optimizer = optimizer
        self.state = state
        self.plan = plan
        resumed = checkpoint.step_folder(plan.run, state.step) / checkpoint.METRICS
        self.metrics = MetricsLog(plan.run / checkpoint.METRICS, recipe, resumed)

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> RunState:
        """Train to ``plan.stop_at`` or until ``should_stop`` says so; the last state is always saved."""
        first = self.state.step
        if first in self.recipe.checkpoint_steps and first not in checkpoint.saved_steps(self.plan.run):
            self.save()
        with Progress(f"train {self.recipe.name}", max(self.plan.stop_at - first, 1), unit="steps") as progress:
            while self.state.step < self.plan.stop_at and not should_stop():
                self.metrics.add(self.iterate())
                if self.state.step in self.recipe.checkpoint_steps or self.state.step in self.plan.keep_optimizer:
                    self.save()
                progress.advance(1, f"step {self.state.step}, {self.metrics.note}")
        if self.state.step not in checkpoint.saved_steps(self.plan.run):
            self.save()
        return self.state

    def iterate(self) -> StepMetrics:
        """Run one iteration and advance the state."""
        state, scale = self.state, self.loss_scale()
        rate = self.learning_rate()
        loss = self.compute_gradients(scale)
        norm = self.clip(scale * self.recipe.batch_rows / self.plan.micro_batch)
        overflow = self.recipe.compute_dtype == "float16" and not bool(torch.isfinite(norm))
        if not overflow:
            set_learning_rate(self.optimizer, rate)
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        step = state.step + 1
        self.state = replace(
            state,
            step=step,
            steps_taken=state.steps_taken + (not overflow),
            skipped_steps=(*state.skipped_steps, step) if overflow else state.skipped_steps,
            loss_scale=state.loss_scale.after(overflow),
        )
        return StepMetrics(step, loss, norm, rate, scale, overflow)

    def learning_rate(self) -> float:
        """Rate of the next update: the schedule's, and less of it while new moments are young."""
        state = self.state
        rate = learning_rate(self.recipe, state.steps_taken)
        young = state.steps_taken - state.moments_from + 1
        return rate if young >= state.rewarm_steps else rate * young / state.rewarm_steps

    def loss_scale(self) -> float:
        """Factor on the loss: dynamic under fp16, 1 otherwise."""
        return self.state.loss_scale.scale if self.recipe.compute_dtype == "float16" else 1.0

    def compute_gradients(self, scale: float) -> Tensor:
        """Add up the gradients of the next batch's micro-batches, times ``scale``; returns the batch's mean loss."""
        device = self.model.embed_out.weight.device
        batch = batch_of(self.source, self.recipe, self.state.step).to(device)
        losses: list[Tensor] = []
        for inputs, targets in micro_batches(batch, self.plan.micro_batch):
            loss = self.loss(inputs, targets)
            (loss * scale if scale != 1.0 else loss).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return torch.stack(losses).mean()

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of one micro-batch."""
        dtype = DTYPES[self.recipe.compute_dtype]
        with torch.autocast(inputs.device.type, dtype, enabled=dtype is not torch.float32):
            hidden = self.model.hidden(inputs)
            return chunked_cross_entropy(
                hidden.reshape(-1, self.recipe.hidden_size),
                self.model.embed_out.weight,
                targets.reshape(-1),
            )

    def clip(self, divisor: float) -> Tensor:
        """Undo the loss scale, turn sums of micro-batches into means, and clip; returns the norm before clipping."""
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return clip_gradients(gradients, self.recipe.gradient_clip, divisor)

    def save(self) -> None:
        """Write the checkpoint of the present step and prune older ones."""
        self.metrics.flush()
        checkpoint.write_checkpoint(
            self.plan.run,
            self.state,
            dict(self.model.named_parameters()),
            state_tensors(self.model, self.optimizer),
            self.metrics.path,
        )
        checkpoint.prune(self.plan.run, self.recipe, self.state.step, self.plan.keep_optimizer)


def check_stop(recipe: Recipe, stop_at: int | None) -> int:
    """Last step to run to: ``stop_at`` or the recipe's last."""
    if stop_at is None:
        return recipe.train_iterations
    if not 0 <= stop_at <= recipe.train_iterations:
        raise ConfigError(f"--stop-at {stop_at} is outside 0..{recipe.train_iterations}")
    return stop_at
