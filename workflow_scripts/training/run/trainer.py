"""Trains one model from a recipe and rows in their order, so that stopping and going on changes no bit.

Iteration i (0, 1 ...) consumes rows [batch_rows * i, batch_rows * (i + 1)) and makes the weights of step i + 1. Under
``neox_v1`` the first iteration has learning rate 0: the weights of step 1 equal those of step 0. Weights and moments
are float32; 16-bit compute is autocast. Results are the same bits for the same recipe, rows, number of threads and
micro-batch on the same kind of processor.

It must not skip a row, use a random number, or write a checkpoint after a loss that is no number.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from workflow_scripts.errors import ConfigError
from workflow_scripts.progress import Progress
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.checkpoint import RunState
from workflow_scripts.training.run.loss import ChunkLoss, chunk_loss, chunked_cross_entropy
from workflow_scripts.training.run.model import DTYPES, GPTNeoX
from workflow_scripts.training.run.optimizer import clip_gradients, set_learning_rate, state_tensors
from workflow_scripts.training.run.processes import ALONE, SINGLE, Processes, last_only
from workflow_scripts.training.run.schedule import learning_rate
from workflow_scripts.training.run.training_log import MetricsLog, SilentMetrics, StepMetrics
from workflow_scripts.training.run.training_rows import RowSource, batch_of, micro_batches

LOG = logging.getLogger(__name__)
# Operation by operation, or layers and loss compiled by torch, which costs half a minute and changes the last bits.
EAGER, COMPILED = "eager", "compiled"
KERNELS = (EAGER, COMPILED)


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


class Objective(nn.Module):
    """Mean loss of a micro-batch in the recipe's precision: the part of the network that only training has."""

    def __init__(self, model: GPTNeoX, recipe: Recipe, kernels: str = EAGER) -> None:
        """Put the loss on top of ``model``, whose layers are compiled in place where ``kernels`` says so."""
        super().__init__()
        self.model = model
        self.dtype = DTYPES[recipe.compute_dtype]
        self.loss_of: ChunkLoss = chunk_loss
        if kernels == COMPILED:
            self.loss_of = torch.compile(chunk_loss)
            for layer in model.gpt_neox.layers:
                layer.compile()

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss in nats per token of int64 ``inputs`` and ``targets``, both ``[rows, length]``; float32 scalar."""
        # Autocast's cache would keep a 16-bit copy of every weight to the end; each is used once, so it saves nothing.
        half = self.dtype is not torch.float32
        with torch.autocast(inputs.device.type, self.dtype, enabled=half, cache_enabled=False):
            hidden = self.model.hidden(inputs)
            states, unembedding = hidden.flatten(0, 1), self.model.embed_out.weight
            return chunked_cross_entropy(states, unembedding, targets.flatten(), loss_of=self.loss_of)


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
        module: nn.Module | None = None,
        processes: Processes = ALONE,
    ) -> None:
        """Join the parts; ``model`` and ``optimizer`` hold the values of ``state.step``.

        ``module`` is what is called for the loss: the model's ``Objective``, wrapped for several ``processes``.
        """
        self.recipe = recipe
        self.source = source
        self.model = model
        self.optimizer = optimizer
        self.state = state
        self.plan = plan
        self.module = module if module is not None else Objective(model, recipe)
        self.processes = processes
        resumed = checkpoint.step_folder(plan.run, state.step) / checkpoint.METRICS
        log = MetricsLog if processes.is_main else SilentMetrics
        self.metrics = log(plan.run / checkpoint.METRICS, recipe, resumed)

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> RunState:
        """Train to ``plan.stop_at`` or until ``should_stop`` says so; the last state is always saved."""
        first = self.state.step
        if first in self.recipe.checkpoint_steps and self.is_unsaved():
            self.save()
        stream = None if self.processes.is_main else io.StringIO()
        with Progress(f"train {self.recipe.name}", max(self.plan.stop_at - first, 1), "steps", stream) as progress:
            while self.state.step < self.plan.stop_at and not self.processes.agreed(should_stop()):
                self.metrics.add(self.iterate())
                if self.state.step in self.recipe.checkpoint_steps or self.state.step in self.plan.keep_optimizer:
                    self.save()
                progress.advance(1, f"step {self.state.step}, {self.metrics.note}")
        if self.is_unsaved():
            self.save()
        return self.state

    def is_unsaved(self) -> bool:
        """Whether the present step is not on the disk yet; the same answer to all processes, however late they look."""
        return self.processes.agreed(self.state.step not in checkpoint.saved_steps(self.plan.run))

    def iterate(self) -> StepMetrics:
        """Run one iteration and advance the state."""
        state, scale = self.state, self.loss_scale()
        rate = self.learning_rate()
        loss = self.compute_gradients(scale)
        portions = self.recipe.batch_rows // self.processes.world // self.plan.micro_batch
        norm = self.clip(scale * portions)
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
        """Add up the gradients of this process's micro-batches, times ``scale``; returns the batch's mean loss."""
        batch = batch_of(self.source, self.recipe, self.state.step)
        share = batch.chunk(self.processes.world)[self.processes.rank].to(self.processes.device)
        parts = list(micro_batches(share, self.plan.micro_batch))
        losses: list[Tensor] = []
        for number, (inputs, targets) in enumerate(parts, 1):
            with last_only(self.module, number == len(parts)):
                loss = self.module(inputs, targets)
                (loss * scale if scale != 1.0 else loss).backward()
            losses.append(loss.detach())
        return self.processes.mean(torch.stack(losses).mean())

    def clip(self, divisor: float) -> Tensor:
        """Undo the loss scale, turn sums of micro-batches into means, and clip; returns the norm before clipping."""
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return clip_gradients(gradients, self.recipe.gradient_clip, divisor)

    def save(self) -> None:
        """Write the checkpoint of the present step and prune older ones; every process must call it."""
        self.metrics.flush()
        run, state, metrics = self.plan.run, self.state, self.metrics.path
        # Nothing continues from the last step, so its moments are only kept on request.
        is_resumable = state.step < self.recipe.train_iterations or state.step in self.plan.keep_optimizer
        moments = state_tensors(self.model, self.optimizer) if is_resumable else {}
        if self.processes.kind == SINGLE:
            weights = {name: parameter.detach() for name, parameter in self.model.named_parameters()}
            checkpoint.write_checkpoint(run, state, weights, moments, metrics)
        else:
            from workflow_scripts.training.run.sharded_state import write_together

            write_together(
                run,
                state,
                model=self.model,
                moments=moments,
                metrics=metrics,
                processes=self.processes,
            )
        if self.processes.is_main:
            checkpoint.prune(run, self.recipe, state.step, self.plan.keep_optimizer)
        self.processes.barrier()


def check_stop(recipe: Recipe, stop_at: int | None) -> int:
    """Last step to run to: ``stop_at`` or the recipe's last."""
    if stop_at is None:
        return recipe.train_iterations
    if not 0 <= stop_at <= recipe.train_iterations:
        raise ConfigError(f"--stop-at {stop_at} is outside 0..{recipe.train_iterations}")
    return stop_at
