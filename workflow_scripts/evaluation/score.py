r"""Score checkpoints on evaluation plans: results JSON and loglikelihoods per request, without lm-eval.

One process loads each checkpoint once and runs it on all plans, reading the next checkpoint's weights meanwhile. Plans
with equal shots share a results file; outputs are listed checkpoint by checkpoint, in the order of the plans. Beside
each results file is <output>.loglikelihoods.npz with the arrays loglikelihood (float64, natural logarithm, sum over the
continuation), greedy (bool) and plan_identity of each plan. Only numpy, torch and safetensors are imported. A plan made
for another tokenizer than the checkpoint's, by another lm-eval than the one installed, or (with --data-dir) from other
documents is refused, and so are weights whose bytes are not those that were fetched. Scores of these weights on a plan
in this arithmetic are kept, those of further tasks join them, and an interrupted job resumes in the middle of a
checkpoint. When one of several checkpoints cannot be scored, the others are; the job fails in the end and names it.
Other architectures than gpt_neox are scored by lm-eval's own Hugging Face model, which needs lm-eval and transformers
and is slower; the results say which engine made them.

    python -m workflow_scripts.evaluation.score --checkpoint checkpoints/pythia-70m/step1000 \
        --plan plans/pythia/0-shot/sciq.plan plans/pythia/0-shot/piqa.plan plans/pythia/5-shot/sciq.plan \
        --output scores/pythia-70m/step1000/0-shot.json scores/pythia-70m/step1000/5-shot.json
"""

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, EvaluationError, PipelineError, shorten
from workflow_scripts.evaluation.planning.plan_file import read_plan
from workflow_scripts.evaluation.scoring.engine_choice import ENGINES, choose_engine
from workflow_scripts.evaluation.scoring.scoring_job import Job, arithmetic, check_origin, make_job, make_targets
from workflow_scripts.storage.locks import exclusive
from workflow_scripts.suite.models import GPT_NEOX

# Names in score_plan.py and attention.py, which need torch; a test compares them.
DTYPES = ("bfloat16", "float16", "float32")
WAYS = ("sdpa", "flex")


def score_jobs(jobs: Sequence[Job], options: argparse.Namespace) -> dict[Path, PipelineError]:
    """Score what is missing; returns the checkpoints that could not be scored, with the reason."""
    pending = [job for job in jobs if job.missing]
    if not pending:
        return {}
    from workflow_scripts.evaluation.scoring import score_plan

    return score_plan.score_all(pending, options)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True, help="Hugging Face folders")
    parser.add_argument("--plan", type=Path, nargs="+", required=True, help="plans to run each checkpoint on")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="per checkpoint: one per plan or shots")
    parser.add_argument("--data-dir", type=Path, nargs="+", default=[], help="refuse plans made from other data")
    parser.add_argument("--bootstrap-iters", type=int, default=0, help="rounds for perplexities; 0: delta method")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; more than physical cores slow it down")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="of weights and matrix products")
    parser.add_argument("--attention", default="sdpa", choices=WAYS, help="how the mask of shared prefixes is applied")
    parser.add_argument("--architecture", default=GPT_NEOX, help="model_type that config.json must have")
    parser.add_argument("--engine", choices=ENGINES, help="by default ours where it knows the architecture")
    parser.add_argument("--renewal", type=int, help="rescore what was scored under another number or none")
    options = parser.parse_args(arguments)
    check(options)
    return options


def check(options: argparse.Namespace) -> None:
    """Refuse numbers and counts that cannot be meant; raises ConfigError."""
    if len(options.output) % len(options.checkpoint):
        raise ConfigError(
            f"{len(options.output)} --output files cannot be shared out to {len(options.checkpoint)} checkpoints"
        )
    if options.threads < 1 or options.bootstrap_iters < 0:
        raise ConfigError(f"--threads is {options.threads}; give 1 or more, and --bootstrap-iters of 0 or more")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; an output that another process is working on is waited for."""
    options = parse(arguments)
    plans = {path: read_plan(path) for path in options.plan}
    for path, plan in plans.items():
        check_origin(path, plan, options.data_dir)
    said = arithmetic(options.dtype, options.device, options.bootstrap_iters, options.renewal)
    size = len(options.output) // len(options.checkpoint)
    shared = [
        make_targets(plans, options.output[first : first + size]) for first in range(0, len(options.output), size)
    ]
    jobs = [
        make_job(checkpoint, choose_engine(checkpoint, options.architecture, options.engine), targets, said)
        for checkpoint, targets in zip(options.checkpoint, shared, strict=True)
    ]
    with contextlib.ExitStack() as stack:
        # In one order, so that two calls never block each other.
        for output in sorted({job.targets[0].output for job in jobs}):
            stack.enter_context(exclusive(output))
        failed = score_jobs(jobs, options)
    if len(failed) == 1:
        raise next(iter(failed.values()))
    if failed:
        reasons = [f"{path}: {error}" for path, error in failed.items()]
        raise EvaluationError(f"{len(failed)} of {len(jobs)} checkpoints could not be scored: {shorten(reasons, 3)}")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
