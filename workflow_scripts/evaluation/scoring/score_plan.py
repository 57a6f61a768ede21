"""Loads checkpoints and scores them on plans; what ``evaluation.score`` does when there is something to compute."""

import argparse
import functools
import itertools
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from workflow_scripts.errors import DataError, EvaluationError, MissingInputError, ModelError, PipelineError
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.engine.model_weights import load_weights
from workflow_scripts.evaluation.engine.row_tensors import edges_before, segments
from workflow_scripts.evaluation.engine.stock_engine import StockEngine
from workflow_scripts.evaluation.planning.plan_file import Plan
from workflow_scripts.evaluation.scoring.engine_choice import LM_EVAL, read_own_config
from workflow_scripts.evaluation.scoring.metrics import Answers
from workflow_scripts.evaluation.scoring.partial_scores import Unfinished
from workflow_scripts.evaluation.scoring.results import (
    Archive,
    archive_part,
    common,
    make_results,
    merge_parts,
    part_of,
    read_archive,
    read_results,
    sum_requests,
    write_archive,
)
from workflow_scripts.evaluation.scoring.scoring_job import Job, Target
from workflow_scripts.evaluation.scoring.weight_prefetch import read_ahead
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.records import write_record

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LOGGER = logging.getLogger(__name__)


def score_plan(engine: Engine | StockEngine, plan: Plan, batch_tokens: int | None = None) -> Answers:
    """Loglikelihood and greedy flag of each request of ``plan``."""
    return score_plans(engine, [plan], None, batch_tokens)[0]


def score_plans(
    engine: Engine | StockEngine,
    plans: Sequence[Plan],
    unfinished: Unfinished | None = None,
    batch_tokens: int | None = None,
) -> list[Answers]:
    """Loglikelihood and greedy flag of each request of each plan; continues from what ``unfinished`` holds.

    A batch never holds rows of two plans: the sums of a matrix product depend, in their last bits, on what else is in
    it, and the scores of a task must not depend on which others were asked for with it.
    """
    if isinstance(engine, StockEngine):
        return engine.score_plans(plans, unfinished)
    first_edge = np.cumsum([0, *(len(plan.forest.edge_token) for plan in plans)])
    first_row = np.cumsum([0, *(len(plan.forest.row_start) - 1 for plan in plans)])
    values, best = np.empty(first_edge[-1], dtype=np.float32), np.empty(first_edge[-1], dtype=np.bool_)
    done = unfinished.read(values, best) if unfinished else 0
    label = f"score {engine.folder.parent.name}/{engine.folder.name}"
    with Progress(label, sum(len(plan.forest.token) for plan in plans), "tokens") as progress:
        for plan, edge, row in zip(plans, first_edge, first_row, strict=False):
            for first, last in segments(plan.forest):
                if row + last <= done:
                    progress.advance(float(plan.forest.row_start[last] - plan.forest.row_start[first]))
                    continue
                begin, end = edge + edges_before(plan.forest, first), edge + edges_before(plan.forest, last)
                found = engine.score_rows(plan.forest, first, last, batch_tokens, progress.advance)
                values[begin:end], best[begin:end] = found
                if unfinished:
                    unfinished.write(int(row + last), values[:end], best[:end])
    parts = [slice(*bounds) for bounds in itertools.pairwise(first_edge)]
    answers = [sum_requests(plan, values[part], best[part]) for plan, part in zip(plans, parts, strict=True)]
    if not all(np.isfinite(each.loglikelihood).all() for each in answers):
        raise EvaluationError(f"{engine.folder}: loglikelihoods that are not finite; the checkpoint is broken")
    return answers


def score_checkpoint(engine: Engine | StockEngine, job: Job, bootstrap: int) -> None:
    """Score one loaded checkpoint on the plans that its outputs lack, and write these outputs."""
    for target in job.targets:
        plans = job.missing.get(target.output)
        if plans is None:
            LOGGER.info("%s is up to date", target.output)
            continue
        identities = [plan.identity for plan in plans.values()]
        unfinished = Unfinished(target.output, {**job.config, "plans": identities})
        answers = dict(zip(plans, score_plans(engine, list(plans.values()), unfinished), strict=True))
        write_scores(target, job, answers, bootstrap)
        write_record(
            target.output,
            {**target.paths, "weights": job.checkpoint},
            {"dtype": job.config["dtype"], "device": str(engine.device), "threads": torch.get_num_threads()},
            known_hashes={"weights": job.config["weights_sha256"]},
        )
        unfinished.delete()


def write_scores(target: Target, job: Job, answers: Mapping[str, Answers], bootstrap: int) -> None:
    """Join new ``answers`` with the scores that the output holds, and write both files.

    Loglikelihoods are written first, so that a results file never exists without them.
    """
    parts = [make_results(target.plans[name], each, job.config, bootstrap, name) for name, each in answers.items()]
    archive: Archive = {}
    for part, entries in kept_parts(target, parts):
        parts.append(part)
        archive |= entries
    for name, each in answers.items():
        archive |= archive_part(name, target.plans[name], each)
    content = merge_parts(parts)
    lost = sorted(target.plans.keys() - content["plans"].keys())
    if lost:
        raise EvaluationError(f"{target.output}: plan {lost[0]} differs in limit or seed from the others; rebuild it")
    write_archive(target.output, archive)
    write_json(target.output, content)


def kept_parts(target: Target, parts: Sequence[JsonMapping]) -> Iterator[tuple[JsonObject, Archive]]:
    """Parts of the output under other names than the new ``parts``, made in the same way as these.

    They may be of tasks that this job was not asked for. What was made from other weights, in another way, or is about
    a task of a new part is dropped.
    """
    try:
        content, archive = read_results(target.output), read_archive(target.output)
    except (MissingInputError, DataError):
        return
    if common(content) != common(parts[0]):
        return
    new = {name for part in parts for name in part["plans"]}
    tasks = {task for part in parts for entry in part["plans"].values() for task in entry["names"]}
    for name, entry in content.get("plans", {}).items():
        entries = {key: array for key, array in archive.items() if key.rpartition("/")[0] == name}
        superseded = name in new or (name not in target.plans and not tasks.isdisjoint(entry["names"]))
        if entries and not superseded:
            yield part_of(content, name), entries


def read_weights(job: Job, dtype: torch.dtype, stop: threading.Event) -> dict[str, torch.Tensor]:
    """Weights of a job on the host; lm-eval's model reads its own."""
    if job.choice.engine == LM_EVAL:
        return {}
    return load_weights(job.checkpoint, read_own_config(job.checkpoint), torch.device("cpu"), dtype, stop)


def make_engine(job: Job, options: argparse.Namespace, weights: dict[str, torch.Tensor]) -> Engine | StockEngine:
    """The engine that was chosen for ``job``, with the ``weights`` that were read."""
    if job.choice.engine == LM_EVAL:
        LOGGER.info("%s: scored by lm-eval's own model: %s", job.checkpoint, job.choice.reason)
        return StockEngine(job.checkpoint, options.device, options.dtype)
    return Engine(job.checkpoint, options.device, DTYPES[options.dtype], weights, options.attention)


def score_all(jobs: Sequence[Job], options: argparse.Namespace) -> dict[Path, PipelineError]:
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
            engine = make_engine(job, options, weights)
            score_checkpoint(engine, job, options.bootstrap_iters)
        except (EvaluationError, ModelError) as error:
            failed[job.checkpoint] = error
            continue
        LOGGER.info("scored %s", job.checkpoint)
    return failed
