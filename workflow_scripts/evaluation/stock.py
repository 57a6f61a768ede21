r"""Run tasks through stock lm-eval (``HFLM`` and its own evaluator): for everything that the fast path refuses.

Any task of lm-eval, or of YAML files in --include-path, is run as it is: text generation, filtered answers, other
metrics. Documents come from local parquet files like those of the plan, so nothing is downloaded. The results file has
the form that workflow_scripts.evaluation.score writes, without loglikelihoods beside it. Weights that lack a tensor or
have one too many are refused before lm-eval sees them: transformers would fill the gap with random numbers.

    python -m workflow_scripts.evaluation.stock --checkpoint checkpoints/pythia-70m/step1000 --tasks gsm8k --shots 5 \
        --data-dir mirror/datasets --output scores/pythia-70m/step1000/5-shot.stock.json
"""

import argparse
import importlib.metadata
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError
from workflow_scripts.evaluation.engine.stock_engine import load_stock_model
from workflow_scripts.evaluation.planning.tasks import (
    TaskSource,
    add_include_path,
    compiled_templates,
    local_manager,
    offline,
    require_folders,
)
from workflow_scripts.evaluation.scoring.engine_choice import read_model_config
from workflow_scripts.evaluation.scoring.model_folder import weights_identity
from workflow_scripts.evaluation.scoring.results import NOT_METRICS, check_results
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.records import write_record
from workflow_scripts.suite.models import GPT_NEOX

FEWSHOT_SEED = 1234
BOOTSTRAP_ITERS = 1000
DTYPES = ("float32", "bfloat16", "float16")
KEPT = ("results", "groups", "group_subtasks", "versions", "n-shot", "higher_is_better", "n-samples")
LOGGER = logging.getLogger(__name__)


def evaluate(options: argparse.Namespace) -> tuple[JsonObject, dict[str, TaskSource]]:
    """What lm-eval's ``simple_evaluate`` answers, and where the documents came from."""
    manager, sources = local_manager(options.tasks, options.data_dir, include=options.include_path)
    import lm_eval

    model = load_stock_model(options.checkpoint, options.dtype, options.device)
    with compiled_templates():
        answer = lm_eval.simple_evaluate(
            model=model,
            tasks=list(options.tasks),
            num_fewshot=options.shots,
            limit=options.limit,
            bootstrap_iters=options.bootstrap_iters,
            task_manager=manager,
            fewshot_random_seed=options.fewshot_seed,
            log_samples=False,
        )
    return dict(answer), sources


def make_results(answer: JsonMapping, options: argparse.Namespace, sources: Mapping[str, TaskSource]) -> JsonObject:
    """The part of lm-eval's answer that is the same on every machine, in the form of our results files."""
    kept = {key: answer[key] for key in KEPT if key in answer}
    kept = json.loads(json.dumps(kept, default=float))
    kept["results"] = {name: plain_entry(entry) for name, entry in kept["results"].items()}
    return {
        **kept,
        "groups": {name: plain_entry(entry) for name, entry in kept.get("groups", {}).items()},
        "configs": {
            name: {"task": name, "dataset": f"{source.dataset}/{source.config}", "split": source.evaluated_split}
            for name, source in sources.items()
        },
        "config": {
            "model": "hf",
            "model_name": options.checkpoint.parent.name,
            "revision": options.checkpoint.name,
            "weights_sha256": weights_identity(options.checkpoint),
            "dtype": options.dtype,
            "softmax_dtype": "float32",
            "device": torch.device(options.device).type,
            "limit": options.limit,
            "fewshot_seed": options.fewshot_seed,
            "bootstrap_iters": options.bootstrap_iters,
        },
        "left_out": {},
        "lm_eval_version": importlib.metadata.version("lm_eval"),
    }


def plain_entry(entry: JsonMapping) -> JsonObject:
    """Entry of a task with its metrics and what they are about."""
    return {key: value for key, value in entry.items() if "," in key or key in NOT_METRICS}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="Hugging Face folder")
    parser.add_argument("--tasks", nargs="+", required=True, metavar="TASK", help="tasks or groups by lm-eval's names")
    parser.add_argument("--shots", type=int, required=True, help="examples in each prompt")
    parser.add_argument(
        "--data-dir", type=Path, nargs="+", action="extend", required=True, help="folders laid out like the Hub's"
    )
    add_include_path(parser)
    parser.add_argument("--limit", type=int, default=None, help="only the first N documents of each task")
    parser.add_argument("--fewshot-seed", type=int, default=FEWSHOT_SEED, help="seed of the few-shot draws")
    parser.add_argument("--bootstrap-iters", type=int, default=BOOTSTRAP_ITERS, help="rounds for standard errors")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="of weights and matrix products")
    parser.add_argument("--architecture", default=GPT_NEOX, help="model_type that config.json must have")
    parser.add_argument("--output", type=Path, required=True, help="results file to write")
    options = parser.parse_args(arguments)
    if options.shots < 0 or options.threads < 1 or (options.limit is not None and options.limit < 1):
        raise ConfigError("--shots must be 0 or more, --threads and --limit 1 or more")
    require_folders(options.include_path)
    return options


@offline()
def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    read_model_config(options.checkpoint, options.architecture)
    answer, sources = evaluate(options)
    content = make_results(answer, options, sources)
    check_results(options.output, content)
    write_json(options.output, content)
    files = {file.name: file.path for source in sources.values() for file in source.files.values()}
    write_record(
        options.output,
        {"weights": options.checkpoint, **files},
        {"tasks": options.tasks, "shots": options.shots, "dtype": options.dtype},
        known_hashes={"weights": content["config"]["weights_sha256"]},
    )
    LOGGER.info("stock lm-eval ran %s on %s", ", ".join(options.tasks), options.checkpoint)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
