r"""Make evaluation plans: lm-eval builds the requests once, then they are tokenised and packed into a file.

A plan belongs to one or more tasks, a number of shots, a tokenizer and a context length. Every checkpoint with that
tokenizer is scored from it (workflow_scripts.evaluation.score) without lm-eval, data sets or tokenizer. Tasks whose
definition fixes num_fewshot at 0 (BLiMP), and rolling perplexities, appear in zero-shot plans only; the header of a
few-shot plan lists them under "left_out". With as many --output files as tasks each task has a plan of its own, and a
plan whose record shows that it was made from the same files in the same way is kept.

    python -m workflow_scripts.evaluation.build_plan --tasks blimp lambada_openai --shots 0 --data-dir mirror/datasets \
        --tokenizer tokenizer.json --max-length 2048 --output plans/0-shot/blimp.plan plans/0-shot/lambada_openai.plan
"""

import argparse
import contextlib
import gc
import importlib.metadata
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, EvaluationError, PipelineError
from workflow_scripts.evaluation.planning.encode import PREFIX_TOKEN, Encoder, UnscorableError, encode_requests
from workflow_scripts.evaluation.planning.plan_file import Plan, RequestTable, make_plan, read_plan, write_plan
from workflow_scripts.evaluation.planning.prefix_trees import Forest, pack
from workflow_scripts.evaluation.planning.protocols import CURRENT, PROTOCOLS, name_in, select_known
from workflow_scripts.evaluation.planning.request_descriptions import Collected, add_task, describe_group, set_shots
from workflow_scripts.evaluation.planning.tasks import (
    OWN_TASKS,
    LoadedTasks,
    add_include_path,
    add_prefix_token,
    compiled_templates,
    load_tasks,
    offline,
    require_folders,
)
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.storage.hashing import sha256_file, sha256_text
from workflow_scripts.storage.records import record_path, write_record

FEWSHOT_SEED = 1234  # lm-eval's own default
# Raise it when this program makes other plans than before; plans of another version are not kept.
PLANNER_VERSION = 1
LOGGER = logging.getLogger(__name__)


def build_plan(
    loaded: LoadedTasks,
    tokenizer: Path,
    *,
    shots: int,
    max_length: int,
    limit: float | None,
    seed: int,
    renewal: int | None = None,
    prefix_token: str | None = None,
) -> Plan:
    """Plan for ``loaded`` tasks.

    ``shots`` examples per prompt; ``max_length`` the models' context in tokens; ``limit`` first documents per task
    (None: all, below 1: a share); ``seed`` of the few-shot draws; a ``renewal`` gives the plan another identity;
    ``prefix_token`` stands in for an empty context (None: Pythia's). A plan is empty when no task takes that many
    shots.
    """
    encoder = Encoder(tokenizer, max_length, prefix_token or PREFIX_TOKEN)
    with without_collector():
        collected, entries, left_out = collect_tasks(loaded, shots, limit, seed)
        try:
            forest, table = pack_requests(collected, encoder)
        except UnscorableError as error:
            raise EvaluationError(f"{name_of(error.document, entries)}{error}; remove the task") from error
    header = {
        "lm_eval": importlib.metadata.version("lm_eval"),
        "protocol": loaded.protocol,
        "tokenizer_sha256": sha256_file(tokenizer),
        "prefix_token_id": encoder.prefix_id,
        "max_length": max_length,
        "shots": shots,
        "limit": limit,
        "fewshot_seed": seed,
        "tasks": entries,
        "groups": [
            describe_group(group, loaded.protocol) for name, group in loaded.groups.items() if present(group, entries)
        ],
        "left_out": left_out,
        "data": {file.name: file.sha256() for file in used_files(loaded, entries)},
    }
    if renewal is not None:
        header["renewal"] = renewal
    if encoder.leading_ids:
        header["leading_token_ids"] = encoder.leading_ids
    return make_plan(header, forest, table)


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Keep Python from searching millions of living objects for garbage, which takes a sixth of a plan's time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def collect_tasks(
    loaded: LoadedTasks, shots: int, limit: float | None, seed: int
) -> tuple[Collected, list[JsonObject], dict[str, str]]:
    """Requests and header entries of all tasks that take ``shots``, and the others with the reason."""
    collected, entries, left_out = Collected(), [], dict(loaded.unknown)
    with compiled_templates():
        for name, task in loaded.tasks.items():
            reason = set_shots(task, shots, seed, loaded.protocol)
            if reason is not None:
                left_out[name_in(loaded.protocol, name)] = reason
                continue
            entry = add_task(collected, task, limit, loaded.protocol)
            entries.append(entry | describe_source(loaded, name, shots))
    return collected, entries, left_out


def name_of(document: int, entries: Sequence[JsonObject]) -> str:
    """Task to which number ``document`` of the plan belongs and its place there, as the beginning of a message."""
    entry = next(entry for entry in entries if document < entry["documents"][1])
    return f"task '{entry['name']}', document {document - entry['documents'][0]}: "


def describe_source(loaded: LoadedTasks, name: str, shots: int) -> JsonObject:
    """Where a task's documents came from, for the header; warns when shots come from another split than usual."""
    source = loaded.sources[name]
    if shots and source.dropped_splits:
        LOGGER.warning(
            "task '%s': split %s is not on disk; lm-eval draws the shots from the next split instead",
            name,
            ", ".join(source.dropped_splits),
        )
    return {
        "dataset": f"{source.dataset}/{source.config}",
        "split": source.evaluated_split,
        "dropped_splits": source.dropped_splits,
    }


def present(group: Any, entries: Sequence[JsonObject]) -> bool:
    """True when all tasks of ``group`` are in the plan."""
    return {task.task_name for task in group.get_all_tasks()} <= {entry["lm_eval_task"] for entry in entries}


def used_files(loaded: LoadedTasks, entries: Sequence[JsonObject]) -> list[Any]:
    """Data files that the requests of ``entries`` may depend on, by name, each once."""
    files = {file.name: file for entry in entries for file in loaded.sources[entry["lm_eval_task"]].files.values()}
    return [files[name] for name in sorted(files)]


def pack_requests(collected: Collected, encoder: Encoder) -> tuple[Forest, RequestTable]:
    """Tokenise and pack everything that was collected."""
    pieces = encode_requests(encoder, collected.instances, collected.document)
    forest = pack([piece.sequence for piece in pieces])
    table = RequestTable(
        document=np.array(collected.document, dtype=np.int32),
        gold=np.array(collected.gold, dtype=np.bool_),
        characters=np.array(collected.characters, dtype=np.int32),
        bytes=np.array(collected.bytes, dtype=np.int32),
        words=np.array(collected.words, dtype=np.int32),
        text_bytes=np.array(collected.text_bytes, dtype=np.int32),
        piece_request=np.array([piece.request for piece in pieces], dtype=np.int32),
    )
    return forest, table


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("--tasks", nargs="+", required=True, metavar="TASK", help="tasks or groups by lm-eval's names")
    parser.add_argument("--shots", type=int, required=True, help="examples in each prompt, e.g. 0 or 5")
    parser.add_argument(
        "--data-dir", type=Path, nargs="+", action="extend", required=True, help="folders in the Hub's layout"
    )
    add_include_path(parser)
    parser.add_argument("--protocol", default=CURRENT, choices=PROTOCOLS, help="whose prompts, draws and metrics")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of the models")
    add_prefix_token(parser)
    parser.add_argument("--max-length", type=int, required=True, help="context length of the models in tokens")
    parser.add_argument("--output", type=Path, nargs="+", required=True, help="one plan for all tasks, or one per task")
    parser.add_argument(
        "--limit",
        type=float,
        default=None,
        help="only the first N documents of each task (below 1: that share of them)",
    )
    parser.add_argument("--fewshot-seed", type=int, default=FEWSHOT_SEED, help="seed of the few-shot draws")
    parser.add_argument("--renewal", type=int, help="rebuild plans made with a different number")
    options = parser.parse_args(arguments)
    require_folders(options.include_path)
    if options.shots < 0 or options.max_length < 1:
        raise ConfigError("--shots must be 0 or more, --max-length 1 or more")
    if len(options.output) not in (1, len(options.tasks)):
        raise ConfigError(
            f"{len(options.output)} --output files for {len(options.tasks)} tasks; give one for all or one for each"
        )
    if options.limit is not None and (options.limit <= 0 or (options.limit > 1 and options.limit % 1)):
        raise ConfigError(f"--limit {options.limit} is neither a whole number nor a share between 0 and 1")
    if options.limit is not None and options.limit >= 1:
        options.limit = int(options.limit)
    return options


def parameters_of(options: argparse.Namespace, tasks: Sequence[str]) -> JsonObject:
    """Everything beside the files that decides the plan of ``tasks``, as its record has it."""
    names = ("shots", "protocol", "max_length", "limit", "fewshot_seed", "renewal", "prefix_token")
    return {
        "tasks": list(tasks),
        **{name: getattr(options, name) for name in names},
        "planner": PLANNER_VERSION,
        "lm_eval": importlib.metadata.version("lm_eval"),
        "definitions": own_definitions(options.include_path),
    }


def own_definitions(include: Sequence[Path] = ()) -> str:
    """sha256 over the files of all task definitions that are not lm-eval's: this project's and those of ``include``."""
    folders = (OWN_TASKS, *include)
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".yaml")]
    return sha256_text("".join(map(sha256_file, files)))


def kept_plan(output: Path, parameters: JsonMapping, options: argparse.Namespace) -> Plan | None:
    """The plan at ``output`` when its record shows that making it again would give the same; else ``None``.

    A plan that had to do without a split is rebuilt, since the split may be there now.
    """
    try:
        plan, record = read_plan(output), json.loads(record_path(output).read_text("utf-8"))
        said, inputs = record["parameters"], {name: entry["sha256"] for name, entry in record["inputs"].items()}
    except (PipelineError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if {name: said.get(name) for name in parameters} != parameters or said.get("identity") != plan.identity:
        return None
    if any(task["dropped_splits"] for task in plan.header["tasks"]):
        return None
    found = {name: locate(name, options) for name in inputs}
    same = all(path is not None and sha256_file(path) == inputs[name] for name, path in found.items())
    return plan if same else None


def locate(name: str, options: argparse.Namespace) -> Path | None:
    """Present file of an input in a plan's record."""
    if name == "tokenizer":
        return Path(options.tokenizer)
    return next((folder / name for folder in options.data_dir if (folder / name).is_file()), None)


def make(tasks: Sequence[str], output: Path, options: argparse.Namespace) -> Plan:
    """The plan of ``tasks``, written to ``output`` unless it is there."""
    parameters = parameters_of(options, tasks)
    kept = kept_plan(output, parameters, options)
    if kept is not None:
        LOGGER.info("%s is up to date", output)
        return kept
    loaded = load_tasks(tasks, options.data_dir, options.protocol, options.include_path)
    plan = build_plan(
        loaded,
        options.tokenizer,
        shots=options.shots,
        max_length=options.max_length,
        limit=options.limit,
        seed=options.fewshot_seed,
        renewal=options.renewal,
        prefix_token=options.prefix_token,
    )
    if len(options.output) == 1:
        refuse_empty([plan], options.shots)
    write_plan(output, plan)
    files = {file.name: file for file in used_files(loaded, plan.header["tasks"])}
    write_record(
        output,
        {"tokenizer": options.tokenizer, **{name: file.path for name, file in files.items()}},
        {**parameters, "identity": plan.identity, **plan.header["counts"]},
        known_hashes=plan.header["data"],
    )
    LOGGER.info("plan %s of %s: %s", plan.identity[:12], ", ".join(tasks), plan.header["counts"])
    return plan


def refuse_empty(plans: Sequence[Plan], shots: int) -> None:
    """:class:`ConfigError` when none of ``plans`` has a task."""
    if not any(plan.header["tasks"] for plan in plans):
        left_out = [name for plan in plans for name in plan.header["left_out"]]
        raise ConfigError(f"no task takes {shots} shots: {', '.join(left_out)} are zero-shot only")


@offline()
def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    select_known(options.protocol, options.tasks)
    if len(options.output) == 1:
        make(options.tasks, options.output[0], options)
        return
    plans = [make([task], output, options) for task, output in zip(options.tasks, options.output, strict=True)]
    refuse_empty(plans, options.shots)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
