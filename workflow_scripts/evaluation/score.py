r"""Score checkpoints on evaluation plans: results JSON and loglikelihoods per request, without lm-eval.

One process loads each checkpoint once and runs it on all plans, reading the next checkpoint's weights meanwhile;
outputs are listed checkpoint by checkpoint, plan by plan. Beside each results file lies <output>.loglikelihoods.npz
with the arrays loglikelihood (float64, natural logarithm, sum over the continuation), greedy (bool) and plan_identity.
Only numpy, torch and safetensors are imported. A plan made for another tokenizer than the checkpoint's, by another
lm-eval than the one installed, or (with --data-dir) from other documents is refused. An output that already holds the
scores of these weights on this plan in this arithmetic is kept, and an interrupted job goes on in the middle of a
checkpoint. When one of several checkpoints cannot be scored, the others are; the job fails in the end and names it.

With --ahead N the process goes on with up to N - 1 other checkpoints of the model that the run wants, and leaves their
scores in hidden folders beside their place; their own call finds them there and moves them, without loading anything.

    python -m workflow_scripts.evaluation.score --checkpoint checkpoints/pythia-70m/step1000 \
        --plan plans/pythia/0-shot.plan plans/pythia/5-shot.plan \
        --output scores/pythia-70m/step1000/0-shot.json scores/pythia-70m/step1000/5-shot.json
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, EvaluationError, PipelineError, shorten
from workflow_scripts.evaluation.planning.plan_file import read_plan
from workflow_scripts.evaluation.scoring.scoring_job import Job, arithmetic, check_origin, make_job, unpublished
from workflow_scripts.storage.locks import exclusive

# Names in score_plan.py and attention.py, which need torch; a test compares them.
DTYPES = ("bfloat16", "float16", "float32")
WAYS = ("sdpa", "flex")


def score_jobs(jobs: Sequence[Job], options: argparse.Namespace) -> dict[Path, PipelineError]:
    """Score what is not done yet; returns the checkpoints that could not be scored, with the reason.

    A process that works ahead puts its own scores in their place last: whoever ends it before then must not lose them.
    """
    pending = [job for job in jobs if not job.publish()]
    if not pending:
        return {}
    from workflow_scripts.evaluation.scoring import score_plan, siblings

    place = score_plan.in_its_place if options.ahead == 1 else unpublished
    failed = score_plan.score_all(pending, options, place)
    if options.ahead > 1 and not failed:
        siblings.work_ahead(pending[0], options)
    for job in pending:
        if job.checkpoint not in failed:
            job.publish()
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
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="of weights and matrix products")
    parser.add_argument("--attention", default="sdpa", choices=WAYS, help="how the mask of shared prefixes is applied")
    parser.add_argument(
        "--ahead", type=int, default=1, metavar="N", help="checkpoints of this process, its own included"
    )
    parser.add_argument("--run", type=Path, help="run.json of the run, which lists the checkpoints it may go on with")
    parser.add_argument("--siblings", type=Path, nargs="+", help="go on with none but these, if they are of this model")
    options = parser.parse_args(arguments)
    check(options)
    return options


def check(options: argparse.Namespace) -> None:
    """Refuse numbers and counts that cannot be meant; raises ConfigError."""
    wanted = len(options.checkpoint) * len(options.plan)
    if len(options.output) != wanted:
        raise ConfigError(f"{wanted} checkpoint and plan pairs need {wanted} --output files, not {len(options.output)}")
    if options.threads < 1 or options.bootstrap_iters < 0:
        raise ConfigError(f"--threads is {options.threads}; give 1 or more, and --bootstrap-iters of 0 or more")
    if options.ahead < 1 or (options.ahead > 1 and len(options.checkpoint) > 1):
        raise ConfigError(f"--ahead is {options.ahead} for {len(options.checkpoint)} checkpoints; it goes with one")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; an output that another process is working on is waited for."""
    options = parse(arguments)
    plans = {path: read_plan(path) for path in options.plan}
    for path, plan in plans.items():
        check_origin(path, plan, options.data_dir)
    size = len(plans)
    said = arithmetic(options.dtype, options.device, options.bootstrap_iters)
    jobs = [
        make_job(checkpoint, plans, options.output[number * size : (number + 1) * size], said)
        for number, checkpoint in enumerate(options.checkpoint)
    ]
    with contextlib.ExitStack() as stack:
        # In one order, so that two calls never block each other.
        for output in sorted({job.outputs[0] for job in jobs}):
            stack.enter_context(exclusive(output))
        failed = score_jobs(jobs, options)
    if len(failed) == 1:
        raise next(iter(failed.values()))
    if failed:
        reasons = [f"{path}: {error}" for path, error in failed.items()]
        raise EvaluationError(f"{len(failed)} of {len(jobs)} checkpoints could not be scored: {shorten(reasons, 3)}")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
