r"""Train a model from its recipe on the rows of a data set in their exact order; interrupting it changes no bit.

    python -m workflow_scripts.training.retrain --recipe recipe.json --view data/pocket/standard/view.json \
        --index-maps data/pocket/standard/index_maps --output-dir results/training/pocket-1m

writes step<N>/ at each step of the recipe's grid (model.safetensors, state.json), metrics.csv and run.json. Until the
last step is done they are in the hidden folder .state, with the optimizer's moments in the newest. SIGINT, SIGTERM or
SIGHUP writes a checkpoint and ends; the same command resumes from the newest one, to the same bits. A second trainer in
the same folder is refused. Several processes: torchrun --nproc-per-node 8 --module workflow_scripts.training.retrain
--parallel ddp (or fsdp), same arguments.

A training may be cut into segments: --stop-at ends one at a checkpoint that also gets optimizer.safetensors and
metrics.csv, --continue-from names the folder of the checkpoint at which the segment before it ended.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.hard_links import copy_whole
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.locks import exclusive
from workflow_scripts.storage.records import write_record
from workflow_scripts.storage.sources.catalog import SOURCES
from workflow_scripts.training.recipe import Recipe, read_recipe
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.allocator import keep_freed_memory
from workflow_scripts.training.run.checkpoint import RunState
from workflow_scripts.training.run.finished_files import adopt, deliver, working_folder
from workflow_scripts.training.run.model import GPTNeoX
from workflow_scripts.training.run.optimizer import build_optimizer
from workflow_scripts.training.run.processes import (
    BACKENDS,
    KINDS,
    SINGLE,
    Processes,
    check_compiler,
    check_dtype,
    joined,
    settle,
    shard,
)
from workflow_scripts.training.run.starting_point import WHEN_DIFFERENT, begin, fresh_state
from workflow_scripts.training.run.trainer import EAGER, KERNELS, Objective, Plan, Trainer, check_stop
from workflow_scripts.training.run.training_rows import RowSource, check_source, micro_batch_rows, named_rows
from workflow_scripts.training.run.warm_start import Origin, read_origin

LOG = logging.getLogger(__name__)
RECEIPT = "run.json"
SAME_REQUEST_SECONDS = 5.0  # within which a signal of the same number is the same request, delivered twice
PATIENCE_SECONDS = 30.0  # for a trainer that was told to end and still writes its checkpoint


class StopRequest:
    """Set by SIGINT, SIGTERM and SIGHUP; the trainer looks at it between iterations."""

    def __init__(self) -> None:
        """Install the handlers; under nohup SIGHUP is ignored, and stays so."""
        self.signal = 0
        self.received = 0.0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP:
                signal.signal(number, self.receive)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal; a second one stops at once, unless it is the same request.

        Slurm signals every process of a job, and torchrun, which is one of them, passes it on to the others.
        """
        del frame
        now = time.monotonic()
        if not self.signal:
            self.signal, self.received = number, now
        elif number != self.signal or now - self.received > SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt

    def __call__(self) -> bool:
        """Whether to stop."""
        return bool(self.signal)


def argument_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--recipe", required=True, help="file with a recipe, or the JSON object itself")
    parser.add_argument(
        "--save-steps", type=int, nargs="+", metavar="STEP", help="steps to save instead of the recipe's grid"
    )
    parser.add_argument("--view", type=Path, help="view.json of the data set (dataset.make_view)")
    parser.add_argument("--index-maps", type=Path, help="folder of GPT-NeoX index maps; computed if omitted")
    parser.add_argument(
        "--output-dir", type=Path, required=True, help="folder of the run, e.g. results/training/<model>"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of matrix products; part of the bits of a result"
    )
    parser.add_argument(
        "--parallel", choices=KINDS, default=SINGLE, help="under torchrun: replicated (ddp) or sharded (fsdp) weights"
    )
    parser.add_argument("--device", choices=sorted(BACKENDS), default="cpu", help="where the network runs")
    parser.add_argument(
        "--kernels",
        choices=KERNELS,
        default=EAGER,
        help="compiled: half a minute before the first step, then faster; needs a C++ compiler; last bits differ",
    )
    parser.add_argument(
        "--micro-batch", type=int, help="rows per forward pass (default: as many as fit in 4096 tokens)"
    )
    parser.add_argument(
        "--recompute-activations",
        action="store_true",
        help="keep only the input of each layer for the backward pass: less memory, a third more work, the same bits",
    )
    parser.add_argument("--stop-at", type=int, help="stop after this step instead of the recipe's last")
    parser.add_argument("--continue-from", type=Path, help="step<N> folder at which the segment before this one ended")
    parser.add_argument(
        "--keep-optimizer", type=int, nargs="*", default=[], metavar="STEP", help="steps whose optimizer state is kept"
    )
    parser.add_argument("--patch", type=Path, help="tokens to exchange in these rows (experiments.make_patch)")
    far = parser.add_argument_group("rows that are already in training order, instead of --view")
    far.add_argument("--preshuffled", help="shard 0 (or the joined .bin) of a preshuffled set")
    far.add_argument("--repository", help="read --preshuffled (a file name) from this data set, org/name, by ranges")
    far.add_argument("--source", choices=sorted(SOURCES), default="hub", help="where --repository is")
    far.add_argument("--location", default="", help="endpoint, folder or URL of --source")
    far.add_argument("--revision", default="main", help="branch, tag or commit of --repository")
    parser.add_argument("--start-from", type=Path, help="step<N> folder of another run, or a Hugging Face folder")
    parser.add_argument("--start-step", type=int, help="step of a Hugging Face folder given to --start-from")
    parser.add_argument(
        "--rewarm-steps",
        type=int,
        help="take only the weights from --start-from; steps over which the learning rate warms up again",
    )
    parser.add_argument(
        "--when-different", choices=WHEN_DIFFERENT, default="refuse", help="what to do with checkpoints of another run"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as the arguments say."""
    options = argument_parser().parse_args(arguments)
    recipe = read_recipe(options.recipe)
    if options.save_steps is not None:
        recipe = recipe.saving(options.save_steps)
    stop_at = check_stop(recipe, options.stop_at)
    set_threads(options.threads)
    with (
        sole_writer(options.output_dir),
        named_rows(options, recipe) as source,
        joined(options.parallel, options.device) as processes,
    ):
        trainer = prepare(recipe, source, options, stop_at, processes)
        stop = StopRequest()
        started = time.process_time()
        state = trainer.run(stop)
    LOG.info("step %d, %.1f CPU-seconds of training", state.step, time.process_time() - started)
    if state.step < stop_at:
        LOG.info("signal %d: checkpoint of step %d is written", stop.signal, state.step)
        raise KeyboardInterrupt
    if processes.is_main:
        finish(options, recipe, state, stop_at)


def prepare(
    recipe: Recipe, source: RowSource, options: argparse.Namespace, stop_at: int, processes: Processes
) -> Trainer:
    """Trainer at the step where the run begins; refuses everything that would fail later."""
    check_dtype(recipe.compute_dtype, processes.device)
    if options.kernels != EAGER:
        check_compiler(processes.device)
    micro_batch = micro_batch_rows(recipe, options.micro_batch, processes.world)
    origin = chosen_origin(options, recipe)
    with processes.device:
        model = GPTNeoX(recipe, recompute=options.recompute_activations)
    module = shard(model, Objective(model, recipe, options.kernels), processes)
    optimizer = build_optimizer(model, recipe)
    fresh = fresh_state(
        recipe, source.fingerprint, options.threads, micro_batch, processes.world, kernels=options.kernels
    )
    working = working_folder(options.output_dir)
    since = 0 if options.continue_from is None else adopted_step(working, options.continue_from, processes)
    state = begin(
        working,
        fresh,
        recipe,
        model=model,
        optimizer=optimizer,
        when_different=options.when_different,
        origin=origin,
        kept=kept_steps(options, recipe, stop_at),
        since=since,
        processes=processes,
    )
    if state.step < stop_at:
        check_source(source, recipe, state.step, stop_at)
        settle(module, processes.kind, recipe.sequence_length, processes.device)
    plan = Plan(working, stop_at, micro_batch, kept_steps(options, recipe, stop_at))
    return Trainer(
        recipe,
        source,
        model=model,
        optimizer=optimizer,
        state=state,
        plan=plan,
        module=module,
        processes=processes,
    )


@contextmanager
def sole_writer(run: Path) -> Iterator[None]:
    """Hold the lock of the folder of a run; of several processes the first holds it for all.

    Raises StorageError with process and machine of the holder, such as a trainer that outlived its Snakemake: two that
    write one folder would mix their metrics and prune each other's checkpoints.
    """
    if int(os.environ.get("RANK", "0")) > 0:
        yield
        return
    with exclusive(run, PATIENCE_SECONDS) as holding:
        if not holding.proved:
            LOG.warning("%s: this file system has no locks; make sure that nothing else trains there", run)
        yield


def chosen_origin(options: argparse.Namespace, recipe: Recipe) -> Origin | None:
    """Where the run starts, None for scratch; raises ConfigError for options that need --start-from."""
    if options.start_from is not None:
        return read_origin(options.start_from, options.start_step, options.rewarm_steps, recipe)
    if options.start_step is not None or options.rewarm_steps is not None:
        raise ConfigError("--start-step and --rewarm-steps go with --start-from")
    return None


def set_threads(threads: int) -> None:
    """Use ``threads`` threads for matrix products and keep freed memory in the process."""
    if not 1 <= threads <= (os.cpu_count() or 1):
        raise ConfigError(f"--threads {threads}: this machine has {os.cpu_count()} processors")
    torch.set_num_threads(threads)
    keep_freed_memory()


def adopted_step(working: Path, before: Path, processes: Processes) -> int:
    """Step at which the segment before ended, whose checkpoint is then in the working folder."""
    with processes.main_first():
        return adopt(working, before)


def kept_steps(options: argparse.Namespace, recipe: Recipe, stop_at: int) -> frozenset[int]:
    """Steps that are saved with all that continuing takes: those asked for, and the end of a segment."""
    ends = {stop_at} - {recipe.train_iterations}
    return frozenset({*options.keep_optimizer, *ends})


def finish(options: argparse.Namespace, recipe: Recipe, state: RunState, stop_at: int) -> None:
    """Give the checkpoints of this segment their final names; with the last step of the recipe also ``run.json``."""
    kept = kept_steps(options, recipe, stop_at)
    due = sorted({*recipe.checkpoint_steps, *kept, stop_at})
    first = state.first_step
    if options.continue_from is not None:
        first = 1 + RunState.read(options.continue_from / checkpoint.STATE).step
    deliver(working_folder(options.output_dir), options.output_dir, [s for s in due if first <= s <= stop_at], kept)
    if stop_at == recipe.train_iterations:
        # A copy: the log is appended to, the checkpoints are never written again.
        copy_whole(working_folder(options.output_dir) / checkpoint.METRICS, options.output_dir / checkpoint.METRICS)
        write_receipt(options, recipe, state, [step for step in due if step >= state.first_step])


def write_receipt(options: argparse.Namespace, recipe: Recipe, state: RunState, steps: list[int]) -> None:
    """Write ``run.json``: the run is complete, and these ``steps`` of it are saved."""
    receipt = options.output_dir / RECEIPT
    last = checkpoint.step_folder(options.output_dir, state.step) / checkpoint.WEIGHTS
    content = {
        "recipe": recipe.to_json(),
        "recipe_identity": recipe.identity,
        "data_fingerprint": state.data_fingerprint,
        "steps": steps,
        "first_step": state.first_step,
        "origin": state.origin,
        "skipped_steps": list(state.skipped_steps),
        "weights_sha256": sha256_file(last),
    }
    write_json(receipt, content)
    record(receipt, options, recipe, state)


def record(receipt: Path, options: argparse.Namespace, recipe: Recipe, state: RunState) -> None:
    """Say beside a receipt what it was made from."""
    parameters = {"threads": state.threads, "micro_batch": state.micro_batch, "recipe_identity": recipe.identity}
    named = {"view": options.view, "patch": options.patch}
    inputs = {name: path for name, path in named.items() if path is not None}
    write_record(receipt, inputs, parameters)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
