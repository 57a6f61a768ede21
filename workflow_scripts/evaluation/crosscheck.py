r"""Stock lm-eval beside the fast path on the first documents of each task of a plan; fails when they disagree.

The same folder is loaded by lm-eval's own Hugging Face model in float32 and run through lm-eval's own evaluator.
Checked are each loglikelihood (1e-4 absolute; rolling texts, whose float32 sum over thousands of tokens is rounded more
coarsely, 1e-6 relative), each greedy flag, and each metric per document, where a flip is forgiven only if the two best
choices are nearer than the tolerance.

With --plan and --scores existing scores are checked; with --tasks and --shots a small plan is made and scored first.

    python -m workflow_scripts.evaluation.crosscheck --checkpoint checkpoints/pocket-90k/step512 \
        --plan plans/pocket/0-shot/pocket_facts.plan --scores scores/pocket-90k/step512/0-shot.json \
        --data-dir mirror/datasets --limit 20 --output crosscheck.json
    python -m workflow_scripts.evaluation.crosscheck --checkpoint checkpoints/pocket-90k/step512 \
        --tasks pocket_facts pocket_agreement --shots 0 5 --data-dir mirror/datasets --limit 20 --output crosscheck.json
"""

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, EvaluationError, UnknownNameError, shorten
from workflow_scripts.evaluation.build_plan import FEWSHOT_SEED, build_plan
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.engine.stock_engine import StockEngine, load_stock_model
from workflow_scripts.evaluation.planning.plan_file import Plan, read_plan
from workflow_scripts.evaluation.planning.request_descriptions import ROLLING
from workflow_scripts.evaluation.planning.tasks import (
    add_include_path,
    add_prefix_token,
    compiled_templates,
    load_tasks,
    local_manager,
    offline,
    require_folders,
)
from workflow_scripts.evaluation.scoring.engine_choice import DEFAULT_CONTEXT, PREFIX_TREE, choose_engine
from workflow_scripts.evaluation.scoring.metrics import Answers, TaskRequests, document_values
from workflow_scripts.evaluation.scoring.results import read_answers
from workflow_scripts.evaluation.scoring.score_plan import score_plan
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.records import write_record
from workflow_scripts.suite.models import GPT_NEOX

TOLERANCE = 1e-4
ROLLING_TOLERANCE = 1e-6
LOGGER = logging.getLogger(__name__)


@dataclass
class Comparison:
    """What was compared for one task, and what differs.

    ``largest_difference`` in nats over all requests; ``near_ties`` are forgiven flips; ``failures`` are sentences.
    """

    task: str
    documents: int
    requests: int
    largest_difference: float = 0.0
    near_ties: int = 0
    failures: list[str] = field(default_factory=list)


def run_stock(checkpoint: Path, plan: Plan, names: Sequence[str], manager: Any, limit: int) -> Any:
    """Results of lm-eval's own evaluator with samples, on the first ``limit`` documents of ``names``."""
    import lm_eval

    model = load_stock_model(checkpoint, "float32", "cpu", plan.header["max_length"])
    with compiled_templates():
        return lm_eval.simple_evaluate(
            model=model,
            tasks=list(names),
            num_fewshot=plan.header["shots"],
            limit=limit,
            bootstrap_iters=0,
            task_manager=manager,
            fewshot_random_seed=plan.header["fewshot_seed"],
        )


def compare_task(plan: Plan, task: JsonMapping, answers: Answers, samples: Sequence[Any]) -> Comparison:
    """Compare one task's first documents with lm-eval's ``samples``."""
    whole = plan.task_requests(task)
    ordered = sorted(samples, key=lambda sample: sample["doc_id"])[: whole.documents]
    requests = first_documents(whole, len(ordered))
    begin = task["requests"][0]
    count = len(requests.document)
    ours = Answers(answers.loglikelihood[begin : begin + count], answers.greedy[begin : begin + count])
    theirs = stock_answers(task, ordered)
    comparison = Comparison(task["name"], len(ordered), count)
    if len(theirs.loglikelihood) != count:
        comparison.failures.append(f"{count} requests here, {len(theirs.loglikelihood)} in lm-eval")
        return comparison
    compare_requests(comparison, task, ours, theirs)
    for metric in task["metrics"]:
        compare_metric(comparison, metric["name"], requests, ours, [sample[metric["name"]] for sample in ordered])
    return comparison


def first_documents(requests: TaskRequests, documents: int) -> TaskRequests:
    """The part of ``requests`` that belongs to the first ``documents``."""
    count = int(np.searchsorted(requests.document, documents))
    return TaskRequests(
        requests.output_type,
        requests.document[:count],
        requests.gold[:count],
        requests.characters[:count],
        requests.bytes[:count],
        requests.words[:documents],
        requests.text_bytes[:documents],
    )


def stock_answers(task: JsonMapping, samples: Sequence[Any]) -> Answers:
    """Loglikelihoods and greedy flags from lm-eval's samples, in the plan's order."""
    responses = [response[0] for sample in samples for response in sample["resps"]]
    if task["output_type"] == ROLLING:
        return Answers(np.array(responses, dtype=np.float64), np.ones(len(responses), dtype=np.bool_))
    return Answers(
        np.array([value for value, _ in responses], dtype=np.float64),
        np.array([greedy for _, greedy in responses], dtype=np.bool_),
    )


def compare_requests(comparison: Comparison, task: JsonMapping, ours: Answers, theirs: Answers) -> None:
    """Note requests whose loglikelihood or greedy flag differs."""
    difference = np.abs(ours.loglikelihood - theirs.loglikelihood)
    comparison.largest_difference = float(difference.max(initial=0.0))
    rolling = task["output_type"] == ROLLING
    allowed = np.maximum(TOLERANCE, ROLLING_TOLERANCE * np.abs(theirs.loglikelihood)) if rolling else TOLERANCE
    for number in np.flatnonzero(~(difference <= allowed)):
        comparison.failures.append(
            f"request {number}: loglikelihood {ours.loglikelihood[number]:.6f} here, "
            f"{theirs.loglikelihood[number]:.6f} in lm-eval"
        )
    flags = np.zeros(0, dtype=np.int64) if rolling else np.flatnonzero(ours.greedy != theirs.greedy)
    comparison.failures.extend(f"request {number}: greedy flags differ" for number in flags)


def compare_metric(
    comparison: Comparison, name: str, requests: TaskRequests, ours: Answers, stock: Sequence[Any]
) -> None:
    """Note documents whose value of metric ``name`` differs and is no near-tie."""
    values = document_values(requests, name, ours)
    reference = np.array([float(item[0] if isinstance(item, list | tuple) else item) for item in stock])
    allowed = np.maximum(2 * TOLERANCE, ROLLING_TOLERANCE * np.abs(reference))
    for number in np.flatnonzero(~(np.abs(values - reference) <= allowed)):
        if requests.output_type == "multiple_choice" and is_near_tie(requests, ours, int(number)):
            comparison.near_ties += 1
        else:
            comparison.failures.append(
                f"document {number}: {name} {values[number]} here, {reference[number]} in lm-eval"
            )


def is_near_tie(requests: TaskRequests, answers: Answers, document: int) -> bool:
    """True when the two best choices of ``document`` are nearer than the tolerance, by any of the usual scores."""
    chosen = requests.document == document
    scores = answers.loglikelihood[chosen]
    for lengths in (np.ones_like(scores), requests.characters[chosen], requests.bytes[chosen]):
        first, second = np.sort(scores / np.maximum(lengths, 1))[::-1][:2]
        if first - second <= 2 * TOLERANCE:
            return True
    return False


def crosscheck(
    checkpoint: Path,
    plan: Plan,
    answers: Answers,
    *,
    names: Sequence[str],
    folders: Sequence[Path],
    limit: int,
    include: Sequence[Path] = (),
) -> list[Comparison]:
    """Comparison of every task in ``names`` (all tasks of the plan when empty).

    ``include``: folders with more task definitions.
    """
    tasks = {task["name"]: task for task in plan.header["tasks"]}
    for name in names:
        if name not in tasks:
            raise UnknownNameError("task", name, tasks, where="plan")
    wanted = list(names) or list(tasks)
    manager, _ = local_manager(wanted, folders, include=include)
    stock = run_stock(checkpoint, plan, wanted, manager, limit)
    return [compare_task(plan, tasks[name], answers, stock["samples"][name]) for name in wanted]


def fresh_scores(options: argparse.Namespace) -> Iterator[tuple[Plan, Answers]]:
    """A small plan and its scores for each of ``--shots``; shots that none of the tasks takes are passed over."""
    choice = choose_engine(options.checkpoint, options.architecture)
    engine = Engine(options.checkpoint) if choice.engine == PREFIX_TREE else StockEngine(options.checkpoint)
    for shots in options.shots:
        loaded = load_tasks(options.tasks, options.data_dir, include=options.include_path)
        plan = build_plan(
            loaded,
            options.checkpoint / "tokenizer.json",
            shots=shots,
            max_length=options.max_length or choice.context or DEFAULT_CONTEXT,
            limit=options.limit,
            seed=FEWSHOT_SEED,
            prefix_token=options.prefix_token,
        )
        if not plan.header["tasks"]:
            LOGGER.info("none of the tasks takes %d shots", shots)
            continue
        yield plan, score_plan(engine, plan)


def checked_pairs(options: argparse.Namespace) -> Iterator[tuple[Plan, Answers, list[str]]]:
    """Plans, answers and the task names to check, in either way."""
    if options.plan is None:
        for plan, answers in fresh_scores(options):
            yield plan, answers, []
        return
    plan = read_plan(options.plan)
    yield plan, read_answers(options.scores, plan), options.tasks


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="Hugging Face folder to score")
    parser.add_argument("--plan", type=Path, help="plan that it was scored on")
    parser.add_argument("--scores", type=Path, help="results file of the fast path for --plan")
    parser.add_argument("--data-dir", type=Path, nargs="+", action="extend", required=True, help="as for the plan")
    add_include_path(parser)
    add_prefix_token(parser)
    parser.add_argument("--max-length", type=int, help="context in tokens without --plan; by default the checkpoint's")
    parser.add_argument("--architecture", default=GPT_NEOX, help="model_type that config.json must have")
    parser.add_argument("--tasks", nargs="*", default=[], metavar="TASK", help="only these tasks of the plan")
    parser.add_argument("--shots", type=int, nargs="+", default=[0], help="shots to check without --plan")
    parser.add_argument("--limit", type=int, default=20, help="first N documents of each task")
    parser.add_argument("--output", type=Path, required=True, help="JSON with the comparison of each task")
    options = parser.parse_args(arguments)
    require_folders(options.include_path)
    if options.limit < 1 or min(options.shots) < 0:
        raise ConfigError("--limit must be 1 or more, --shots 0 or more")
    if (options.plan is None) != (options.scores is None) or (options.plan is None and not options.tasks):
        raise ConfigError("give either --plan with --scores, or --tasks with --shots")
    return options


@offline()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; a failed comparison is written to ``<output>.failed``."""
    options = parse(arguments)
    torch.set_num_threads(1)
    compared: list[JsonObject] = []
    for plan, answers, names in checked_pairs(options):
        found = crosscheck(
            options.checkpoint,
            plan,
            answers,
            names=names,
            folders=options.data_dir,
            limit=options.limit,
            include=options.include_path,
        )
        compared += [{"shots": plan.header["shots"], "plan_identity": plan.identity, **asdict(item)} for item in found]
    failed = [f"{item['task']}: {failure}" for item in compared for failure in item["failures"]]
    if failed:
        write_json(options.output.with_name(options.output.name + ".failed"), compared)
        raise EvaluationError(f"{options.checkpoint}: {len(failed)} differences from lm-eval: {shorten(failed, 3)}")
    largest = max((item["largest_difference"] for item in compared), default=0.0)
    write_json(options.output, {"largest_difference": largest, "limit": options.limit, "tasks": compared})
    inputs = {name: path for name, path in (("plan", options.plan), ("scores", options.scores)) if path}
    write_record(options.output, inputs, {"limit": options.limit, "checkpoint": str(options.checkpoint)})
    LOGGER.info("crosscheck: %d tasks agree with lm-eval, largest difference %.2g nats", len(compared), largest)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
