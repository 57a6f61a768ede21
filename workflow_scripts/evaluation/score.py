r"""Score checkpoints on evaluation plans: results JSON and loglikelihoods per request, without lm-eval.

One process loads each checkpoint once and runs it on all plans; outputs are listed checkpoint by checkpoint, plan by
plan. Beside each results file lies <output>.loglikelihoods.npz with the arrays loglikelihood (float64, natural
logarithm, sum over the continuation), greedy (bool) and plan_identity. Only numpy, torch and safetensors are imported.
A plan made for another tokenizer than the checkpoint's is refused. An output that already holds the scores of these
weights on this plan in this arithmetic is kept, so an interrupted job over many checkpoints goes on where it stopped.

    python -m workflow_scripts.evaluation.score --checkpoint checkpoints/pythia-70m/step1000 \
        --plan plans/pythia/0-shot.plan plans/pythia/5-shot.plan \
        --output scores/pythia-70m/step1000/0-shot.json scores/pythia-70m/step1000/5-shot.json
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, DataError, EvaluationError, MissingInputError
from workflow_scripts.evaluation.engine import ENGINE_VERSION, Engine
from workflow_scripts.evaluation.metrics import Answers
from workflow_scripts.evaluation.plan_file import Plan, read_plan
from workflow_scripts.evaluation.results import make_results, read_answers, read_results, sum_requests, write_answers
from workflow_scripts.evaluation.weights import weights_identity
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import write_record

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LOGGER = logging.getLogger(__name__)


def check_fits(checkpoint: Path, plan_path: Path, plan: Plan, engine: Engine) -> None:
    """Refuse a plan whose tokenizer or context length is not the checkpoint's."""
    tokenizer = checkpoint / "tokenizer.json"
    if not tokenizer.is_file():
        raise MissingInputError(f"{checkpoint}: has no tokenizer.json, so a plan cannot be matched with it")
    digest, wanted = sha256_file(tokenizer), plan.header["tokenizer_sha256"]
    if digest != wanted:
        raise EvaluationError(
            f"{plan_path}: made for tokenizer {wanted[:12]}, but {checkpoint} has {digest[:12]}; make a plan for it"
        )
    if plan.header["max_length"] > engine.config.context:
        raise EvaluationError(
            f"{plan_path}: made for {plan.header['max_length']} tokens of context, but {checkpoint} takes "
            f"{engine.config.context}; make a plan with --max-length {engine.config.context}"
        )
    if plan.forest.token.max(initial=0) >= engine.config.vocabulary:
        raise EvaluationError(f"{plan_path}: holds token ids beyond the {engine.config.vocabulary} of {checkpoint}")


def score_plan(engine: Engine, plan: Plan, batch_tokens: int | None = None) -> Answers:
    """Loglikelihood and greedy flag of each request of ``plan``."""
    nodes = plan.header["counts"]["nodes"]
    with Progress(f"score {engine.folder.parent.name}/{engine.folder.name}", nodes, "tokens") as progress:
        values, best = engine.score(plan.forest, batch_tokens, progress.advance)
    answers = sum_requests(plan, values, best)
    if not np.isfinite(answers.loglikelihood).all():
        raise EvaluationError(f"{engine.folder}: loglikelihoods that are not finite; the checkpoint is broken")
    return answers


def run_config(engine: Engine, checkpoint: Path) -> dict[str, Any]:
    """What identifies a checkpoint and the arithmetic, without paths of this machine."""
    return {
        "model": "gpt_neox",
        "engine": ENGINE_VERSION,
        "model_name": checkpoint.parent.name,
        "revision": checkpoint.name,
        "weights_sha256": weights_identity(checkpoint),
        "dtype": str(engine.dtype).removeprefix("torch."),
        "softmax_dtype": "float32",
        "device": engine.device.type,
    }


def score_checkpoint(engine: Engine, checkpoint: Path, plans: dict[Path, Plan], outputs: Sequence[Path]) -> None:
    """Score one loaded checkpoint on all ``plans`` and write the results.

    Loglikelihoods are written first, so that a results file never stands without them.
    """
    config = run_config(engine, checkpoint)
    for (plan_path, plan), output in zip(plans.items(), outputs, strict=True):
        if is_scored(output, plan, config):
            LOGGER.info("%s is up to date", output)
            continue
        answers = score_plan(engine, plan)
        write_answers(output, answers, plan)
        write_json(output, make_results(plan, answers, config))
        write_record(
            output,
            {"plan": plan_path, "weights": checkpoint},
            {"dtype": config["dtype"], "device": str(engine.device), "threads": torch.get_num_threads()},
            known_hashes={"weights": config["weights_sha256"]},
        )


def is_scored(output: Path, plan: Plan, config: dict[str, Any]) -> bool:
    """True when ``output`` holds sound results and loglikelihoods of ``plan`` for exactly this ``config``."""
    try:
        content = read_results(output)
        read_answers(output, plan)
    except (MissingInputError, DataError, EvaluationError):
        return False
    said = content["config"]
    return content.get("plan_identity") == plan.identity and all(said.get(key) == config[key] for key in config)


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
    options = parser.parse_args(arguments)
    wanted = len(options.checkpoint) * len(options.plan)
    if len(options.output) != wanted:
        raise ConfigError(f"{wanted} checkpoint and plan pairs need {wanted} --output files, not {len(options.output)}")
    if options.threads < 1:
        raise ConfigError(f"--threads is {options.threads}; give 1 or more")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    plans = {path: read_plan(path) for path in options.plan}
    for number, checkpoint in enumerate(options.checkpoint):
        engine = Engine(checkpoint, options.device, DTYPES[options.dtype])
        for path, plan in plans.items():
            check_fits(checkpoint, path, plan, engine)
        first = number * len(plans)
        score_checkpoint(engine, checkpoint, plans, options.output[first : first + len(plans)])
        LOGGER.info("scored %s", checkpoint)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
