r"""Score checkpoints on evaluation plans: results JSON and loglikelihoods per request, without lm-eval.

One process loads each checkpoint once and runs it on all plans, reading the next checkpoint's weights meanwhile;
outputs are listed checkpoint by checkpoint, plan by plan. Beside each results file lies <output>.loglikelihoods.npz
with the arrays loglikelihood (float64, natural logarithm, sum over the continuation), greedy (bool) and plan_identity.
Only numpy, torch and safetensors are imported. A plan made for another tokenizer than the checkpoint's, by another
lm-eval than the one installed, or (with --data-dir) from other documents is refused. An output that already holds the
scores of these weights on this plan in this arithmetic is kept, and an interrupted job goes on in the middle of a
checkpoint. When one of several checkpoints cannot be scored, the others are; the job fails in the end and names it.

    python -m workflow_scripts.evaluation.score --checkpoint checkpoints/pythia-70m/step1000 \
        --plan plans/pythia/0-shot.plan plans/pythia/5-shot.plan \
        --output scores/pythia-70m/step1000/0-shot.json scores/pythia-70m/step1000/5-shot.json
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workflow_scripts import cli
from workflow_scripts.errors import (
    ConfigError,
    DataError,
    EvaluationError,
    MissingInputError,
    PipelineError,
    shorten,
)
from workflow_scripts.evaluation.ahead import read_ahead
from workflow_scripts.evaluation.attention import WAYS
from workflow_scripts.evaluation.batches import edges_before, segments
from workflow_scripts.evaluation.engine import ENGINE_VERSION, Engine
from workflow_scripts.evaluation.metrics import Answers
from workflow_scripts.evaluation.plan_file import Plan, read_plan
from workflow_scripts.evaluation.results import make_results, read_answers, read_results, sum_requests, write_answers
from workflow_scripts.evaluation.unfinished import Unfinished
from workflow_scripts.evaluation.weights import NeoxConfig, load_weights, read_config, weights_identity
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import write_record

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One checkpoint, its identity and arithmetic (``config`` of the results files), and the plans to run it on."""

    checkpoint: Path
    config: Mapping[str, Any]
    plans: Mapping[Path, Plan]
    outputs: Sequence[Path]

    @property
    def is_done(self) -> bool:
        """True when every output holds sound scores of exactly this."""
        return all(
            is_scored(output, plan, self.config) for plan, output in zip(self.plans.values(), self.outputs, strict=True)
        )


def check_fits(checkpoint: Path, plan_path: Path, plan: Plan, config: NeoxConfig) -> None:
    """Refuse a plan whose tokenizer or context length is not the checkpoint's."""
    tokenizer = checkpoint / "tokenizer.json"
    if not tokenizer.is_file():
        raise MissingInputError(f"{checkpoint}: has no tokenizer.json, so a plan cannot be matched with it")
    digest, wanted = sha256_file(tokenizer), plan.header["tokenizer_sha256"]
    if digest != wanted:
        raise EvaluationError(
            f"{plan_path}: made for tokenizer {wanted[:12]}, but {checkpoint} has {digest[:12]}; make a plan for it"
        )
    if plan.header["max_length"] > config.context:
        raise EvaluationError(
            f"{plan_path}: made for {plan.header['max_length']} tokens of context, but {checkpoint} takes "
            f"{config.context}; make a plan with --max-length {config.context}"
        )
    if plan.forest.token.max(initial=0) >= config.vocabulary:
        raise EvaluationError(f"{plan_path}: holds token ids beyond the {config.vocabulary} of {checkpoint}")


def check_origin(plan_path: Path, plan: Plan, folders: Sequence[Path]) -> None:
    """Refuse a plan that another lm-eval made than the installed one, or from other files than lie in ``folders``."""
    try:
        installed = importlib.metadata.version("lm_eval")
    except importlib.metadata.PackageNotFoundError:
        installed = plan.header["lm_eval"]  # a machine that only scores needs no lm-eval
    if installed != plan.header["lm_eval"]:
        raise EvaluationError(
            f"{plan_path}: made by lm-eval {plan.header['lm_eval']}, but {installed} is installed; make the plan again"
        )
    for name, digest in plan.header["data"].items() if folders else ():
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            raise MissingInputError(
                f"{plan_path}: made from {name}, which is not under {shorten(list(map(str, folders)))}"
            )
        if sha256_file(path) != digest:
            raise EvaluationError(f"{plan_path}: made from another {name} than {path}; make the plan again")


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


def run_config(checkpoint: Path, dtype: str, device: str) -> dict[str, Any]:
    """What identifies a checkpoint and the arithmetic, without paths of this machine."""
    return {
        "model": "gpt_neox",
        "engine": ENGINE_VERSION,
        "model_name": checkpoint.parent.name,
        "revision": checkpoint.name,
        "weights_sha256": weights_identity(checkpoint),
        "dtype": dtype,
        "softmax_dtype": "float32",
        "device": torch.device(device).type,
    }


def score_checkpoint(engine: Engine, job: Job, bootstrap: int) -> None:
    """Score one loaded checkpoint on all its plans and write the results.

    Loglikelihoods are written first, so that a results file never stands without them.
    """
    for (plan_path, plan), output in zip(job.plans.items(), job.outputs, strict=True):
        if is_scored(output, plan, job.config):
            LOGGER.info("%s is up to date", output)
            continue
        unfinished = Unfinished(output, {**job.config, "plan": plan.identity})
        answers = score_plan(engine, plan, unfinished)
        write_answers(output, answers, plan)
        write_json(output, make_results(plan, answers, job.config, bootstrap))
        write_record(
            output,
            {"plan": plan_path, "weights": job.checkpoint},
            {"dtype": job.config["dtype"], "device": str(engine.device), "threads": torch.get_num_threads()},
            known_hashes={"weights": job.config["weights_sha256"]},
        )
        unfinished.delete()


def is_scored(output: Path, plan: Plan, config: Mapping[str, Any]) -> bool:
    """True when ``output`` holds sound results and loglikelihoods of ``plan`` for exactly this ``config``."""
    try:
        content = read_results(output)
        read_answers(output, plan)
    except (MissingInputError, DataError, EvaluationError):
        return False
    said = content["config"]
    return content.get("plan_identity") == plan.identity and all(said.get(key) == config[key] for key in config)


def make_job(checkpoint: Path, plans: Mapping[Path, Plan], outputs: Sequence[Path], options: argparse.Namespace) -> Job:
    """Job of one checkpoint, once everything that can be checked without its weights is."""
    config = read_config(checkpoint)
    for path, plan in plans.items():
        check_fits(checkpoint, path, plan, config)
    said = run_config(checkpoint, options.dtype, options.device)
    return Job(checkpoint, said | {"bootstrap_iters": options.bootstrap_iters}, plans, outputs)


def read_weights(job: Job, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Weights of a job on the host."""
    return load_weights(job.checkpoint, read_config(job.checkpoint), torch.device("cpu"), dtype)


def score_all(jobs: Sequence[Job], options: argparse.Namespace) -> dict[Path, PipelineError]:
    """Score what is not done yet; returns the checkpoints that could not be scored, with the reason."""
    failed: dict[Path, PipelineError] = {}
    dtype = DTYPES[options.dtype]
    pending = [job for job in jobs if not job.is_done]
    for job, weights in read_ahead(pending, functools.partial(read_weights, dtype=dtype)):
        if isinstance(weights, PipelineError):
            failed[job.checkpoint] = weights
            continue
        try:
            engine = Engine(job.checkpoint, options.device, dtype, weights, options.attention)
            score_checkpoint(engine, job, options.bootstrap_iters)
        except EvaluationError as error:
            failed[job.checkpoint] = error
            continue
        LOGGER.info("scored %s", job.checkpoint)
    return failed


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command line of this program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True, help="Hugging Face folders")
    parser.add_argument("--plan", type=Path, nargs="+", required=True, help="plans to run each checkpoint on")
    parser.add_argument(
        "--output", type=Path, nargs="+", required=True, help="one results file per checkpoint and plan"
    )
    parser.add_argument(
        "--data-dir", type=Path, nargs="+", default=[], help="refuse plans of other data than lies here"
    )
    parser.add_argument("--bootstrap-iters", type=int, default=0, help="rounds for perplexities; 0: delta method")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; more than physical cores slow it down")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--dtype", default="float32", choices=sorted(DTYPES), help="of weights and matrix products")
    parser.add_argument("--attention", default="sdpa", choices=WAYS, help="how the mask of shared prefixes is applied")
    options = parser.parse_args(arguments)
    wanted = len(options.checkpoint) * len(options.plan)
    if len(options.output) != wanted:
        raise ConfigError(f"{wanted} checkpoint and plan pairs need {wanted} --output files, not {len(options.output)}")
    if options.threads < 1 or options.bootstrap_iters < 0:
        raise ConfigError(f"--threads is {options.threads}; give 1 or more, and --bootstrap-iters of 0 or more")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    plans = {path: read_plan(path) for path in options.plan}
    for path, plan in plans.items():
        check_origin(path, plan, options.data_dir)
    size = len(plans)
    jobs = [
        make_job(checkpoint, plans, options.output[number * size : (number + 1) * size], options)
        for number, checkpoint in enumerate(options.checkpoint)
    ]
    failed = score_all(jobs, options)
    if len(failed) == 1:
        raise next(iter(failed.values()))
    if failed:
        reasons = [f"{path}: {error}" for path, error in failed.items()]
        raise EvaluationError(f"{len(failed)} of {len(jobs)} checkpoints could not be scored: {shorten(reasons, 3)}")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
