"""Loads checkpoints and scores them on plans; what ``evaluation.score`` does when there is something to compute."""

from __future__ import annotations

import argparse
import functools
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from workflow_scripts.errors import EvaluationError, PipelineError
from workflow_scripts.evaluation.ahead import read_ahead
from workflow_scripts.evaluation.batches import edges_before, segments
from workflow_scripts.evaluation.engine import Engine
from workflow_scripts.evaluation.jobs import Job, is_done
from workflow_scripts.evaluation.metrics import Answers
from workflow_scripts.evaluation.model_folder import read_config
from workflow_scripts.evaluation.plan_file import Plan
from workflow_scripts.evaluation.results import make_results, sum_requests, write_answers
from workflow_scripts.evaluation.unfinished import Unfinished
from workflow_scripts.evaluation.weights import load_weights
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.records import write_record

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Place = Callable[[Path], Path]
LOGGER = logging.getLogger(__name__)


def in_its_place(output: Path) -> Path:
    """The scores of ``output`` are written there at once."""
    return output


def score_plan(
    engine: Engine, plan: Plan, unfinished: Unfinished | None = None, batch_tokens: int | None = None
) -> Answers:
    """Loglikelihood and greedy flag of each request of ``plan``; goes on from what ``unfinished`` holds."""
    forest = plan.forest
    values = np.empty(len(forest.edge_token), dtype=np.float32)
    best = np.empty(len(forest.edge_token), dtype=np.bool_)
    done = unfinished.read(values, best) if unfinished else 0
    with Progress(f"score {engine.folder.parent.name}/{engine.folder.name}", len(forest.token), "tokens") as progress:
        progress.advance(float(forest.row_start[done]))
        for first, last in segments(forest):
            if last <= done:
                continue
            edges = slice(edges_before(forest, first), edges_before(forest, last))
            values[edges], best[edges] = engine.score_rows(forest, first, last, batch_tokens, progress.advance)
            if unfinished:
                unfinished.write(last, values[: edges.stop], best[: edges.stop])
    answers = sum_requests(plan, values, best)
    if not np.isfinite(answers.loglikelihood).all():
        raise EvaluationError(f"{engine.folder}: loglikelihoods that are not finite; the checkpoint is broken")
    return answers


def score_checkpoint(engine: Engine, job: Job, bootstrap: int, place: Place = in_its_place) -> None:
    """Score one loaded checkpoint on all its plans and write the results of each output to its ``place``.

    Loglikelihoods are written first, so that a results file never stands without them.
    """
    for plan_path, plan, output in job.parts():
        if is_done(output, plan, job.config):
            LOGGER.info("%s is up to date", output)
            continue
        unfinished = Unfinished(output, {**job.config, "plan": plan.identity})
        answers = score_plan(engine, plan, unfinished)
        write_answers(place(output), answers, plan)
        write_json(place(output), make_results(plan, answers, job.config, bootstrap))
        write_record(
            place(output),
            {"plan": plan_path, "weights": job.checkpoint},
            {"dtype": job.config["dtype"], "device": str(engine.device), "threads": torch.get_num_threads()},
            known_hashes={"weights": job.config["weights_sha256"]},
        )
        unfinished.delete()


def read_weights(job: Job, dtype: torch.dtype, stop: threading.Event) -> dict[str, torch.Tensor]:
    """Weights of a job on the host."""
    return load_weights(job.checkpoint, read_config(job.checkpoint), torch.device("cpu"), dtype, stop)


def score_all(
    jobs: Sequence[Job], options: argparse.Namespace, place: Place = in_its_place
) -> dict[Path, PipelineError]:
    """Score every job; returns the checkpoints that could not be scored, with the reason.

    The weights of the next one are read meanwhile.
    """
    torch.set_num_threads(options.threads)
    failed: dict[Path, PipelineError] = {}
    dtype = DTYPES[options.dtype]
    stop = threading.Event()
    for job, weights in read_ahead(jobs, functools.partial(read_weights, dtype=dtype, stop=stop), stop):
        if isinstance(weights, PipelineError):
            failed[job.checkpoint] = weights
            continue
        try:
            engine = Engine(job.checkpoint, options.device, dtype, weights, options.attention)
            score_checkpoint(engine, job, options.bootstrap_iters, place)
        except EvaluationError as error:
            failed[job.checkpoint] = error
            continue
        LOGGER.info("scored %s", job.checkpoint)
    return failed
