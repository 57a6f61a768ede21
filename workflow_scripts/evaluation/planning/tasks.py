"""Tasks by name through lm-eval's own TaskManager, with every data set pointed at local parquet files.

The task definitions (prompts, choices, shot samplers, metrics) are lm-eval's YAML files and, for the pocket suite,
those beside this module. This module only decides which folders are indexed and where documents are read from. It must
never write or alter a prompt.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_scripts.errors import ConfigError, EvaluationError, UnknownNameError
from workflow_scripts.evaluation.planning.local_data import DataFile, find_split, read_splits, require_split
from workflow_scripts.evaluation.planning.protocols import CURRENT, changes_to, split_known
from workflow_scripts.json_values import JsonObject
from workflow_scripts.suite.task_facts import VALIDATION

if TYPE_CHECKING:
    from lm_eval.api.group import Group
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager

OWN_TASKS = Path(__file__).parent / "tasks"
# Indexing all of lm-eval's YAML files takes 6-8 CPU-seconds; the tasks of the Pythia paper lie in these folders of
# lm_eval/tasks. A name that is not found there is looked up in the whole package.
QUICK_FOLDERS = {
    "arc_": "arc",
    "blimp": "blimp",
    "crows_pairs": "crows_pairs",
    "lambada": "lambada",
    "logiqa": "logiqa",
    "mmlu": "mmlu/default",
    "piqa": "piqa",
    "sciq": "sciq",
    "triviaqa": "triviaqa",
    "wikitext": "wikitext",
    "winogrande": "winogrande",
    "wsc": "super_glue/wsc",
}
DEFINITION = re.compile(r"""^["']?(?:task|group|tag)["']?:\s*["']?([\w.:-]+)""", re.MULTILINE)
WORD = re.compile(r"[\w.:-]+")
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TQDM_DISABLE": "1"}


@dataclass
class TaskSource:
    """Where the documents of one task come from."""

    dataset: str
    config: str
    evaluated_split: str
    files: dict[str, DataFile]
    dropped_splits: list[str] = field(default_factory=list)


@dataclass
class LoadedTasks:
    """lm-eval's task and group objects by name, and the sources of the tasks' documents."""

    tasks: dict[str, ConfigurableTask]
    groups: dict[str, Group]
    sources: dict[str, TaskSource]
    protocol: str = CURRENT
    unknown: dict[str, str] = field(default_factory=dict)


def load_tasks(
    names: Sequence[str], data_folders: Sequence[Path], protocol: str = CURRENT, include: Sequence[Path] = ()
) -> LoadedTasks:
    """Build the tasks and groups called ``names`` with their documents from ``data_folders``.

    ``include``: folders with more task definitions. Names are lm-eval's present ones; what ``protocol`` does not have
    is listed under ``unknown``. Raises :class:`UnknownNameError` for a name that neither lm-eval nor the pocket suite
    has, :class:`MissingInputError` when the split that a task evaluates is not on disk, :class:`ConfigError` when a
    task is asked for twice.
    """
    known, unknown = split_known(protocol, names)
    if not known:
        return LoadedTasks({}, {}, {}, protocol, unknown)
    manager, sources = local_manager(known, data_folders, protocol, include)
    with compiled_templates():
        try:
            loaded = manager.load(known)
        except ValueError as error:
            if "Duplicate task" not in str(error):
                raise
            raise ConfigError(f"tasks {', '.join(names)}: {error}; name either the group or the task") from error
    return LoadedTasks(loaded["tasks"], loaded.get("groups", {}), sources, protocol, unknown)


def add_include_path(parser: argparse.ArgumentParser) -> None:
    """Option for folders with more task definitions; hold them to ``require_folders``."""
    parser.add_argument("--include-path", type=Path, nargs="*", default=[], help="folders with your own task YAMLs")


def add_prefix_token(parser: argparse.ArgumentParser) -> None:
    """Option for the token that lm-eval's model would put in place of an empty context."""
    parser.add_argument("--prefix-token", help="stands in for an empty context; by default <|endoftext|>")


def require_folders(folders: Sequence[Path]) -> None:
    """Raise ConfigError for one of --include-path that is not there."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"--include-path {folder}: no such folder")


def add_validation_task(index: Any, name: str) -> None:
    """Enter task ``name``, say sciq_validation, which asks as sciq does but evaluates the validation split."""
    import dataclasses

    from lm_eval.tasks._yaml_loader import load_yaml

    original = index[name.removesuffix(VALIDATION)]
    config: JsonObject = load_yaml(original.yaml_path, resolve_func=True)
    if not config.get("validation_split"):
        raise EvaluationError(f"task '{name}': {original.name} has no validation split")
    config |= {"task": name, "test_split": None}
    index[name] = dataclasses.replace(original, name=name, cfg=config, yaml_path=None)


def local_manager(
    names: Sequence[str], data_folders: Sequence[Path], protocol: str = CURRENT, include: Sequence[Path] = ()
) -> tuple[TaskManager, dict[str, TaskSource]]:
    """TaskManager whose tasks below ``names`` read their documents from ``data_folders``, and those sources.

    ``include``: folders with more task definitions.
    """
    manager = make_manager(names, include)
    sources = {leaf: localize(manager, leaf, data_folders) for leaf in leaf_names(manager.task_index, names)}
    for leaf in sources:
        manager.task_index[leaf].cfg.update(changes_to(protocol, leaf))
    return manager, sources


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Keep the Hugging Face libraries off the network, and lm-eval quiet, as long as a program runs.

    They read the environment when they are imported, so that one imported before is told by its constant.
    """
    from huggingface_hub import constants

    environment, told = {name: os.environ.get(name) for name in OFFLINE}, constants.HF_HUB_OFFLINE
    os.environ.update(OFFLINE)
    constants.HF_HUB_OFFLINE = True
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = told
        for name, value in environment.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def make_manager(names: Sequence[str], include: Sequence[Path] = ()) -> TaskManager:
    """TaskManager over our tasks and the quick folders of ``names``; over all of lm-eval when that is not enough."""
    import lm_eval.tasks

    package = Path(lm_eval.tasks.__file__).parent
    folders = {folder for name in names for prefix, folder in QUICK_FOLDERS.items() if name.startswith(prefix)}
    paths = [OWN_TASKS, *include, *(package / folder for folder in sorted(folders))]
    manager = lm_eval.tasks.TaskManager(include_path=[str(path) for path in paths], include_defaults=False)
    absent = [name for name in names if name not in manager.task_index]
    for name in absent:
        if name.endswith(VALIDATION) and name.removesuffix(VALIDATION) in manager.task_index:
            add_validation_task(manager.task_index, name)
    absent = [name for name in absent if name not in manager.task_index]
    if not absent:
        return manager
    known = mentioned_names((package, OWN_TASKS, *include), absent)
    manager = lm_eval.tasks.TaskManager(include_path=[str(folder) for folder in (OWN_TASKS, *include)])
    for name in absent:
        if name not in manager.task_index:
            raise UnknownNameError("task", name, known)
    return manager


def mentioned_names(folders: Sequence[Path], wanted: Sequence[str]) -> set[str]:
    """Names that the YAML files in ``folders`` (of lm-eval, of this project, of the user) define.

    A name of ``wanted`` that occurs in none of them, anywhere, is refused immediately: reading the text takes half
    a second, indexing it eight. Whether a name that is mentioned is a task is for the index to say.
    """
    texts = [path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.yaml")]
    known = {name for text in texts for name in DEFINITION.findall(text)}
    words = {word for text in texts for word in WORD.findall(text)}
    for name in wanted:
        if name not in words:
            raise UnknownNameError("task", name, sorted(known))
    return known


def leaf_names(index: Any, names: Sequence[str]) -> list[str]:
    """Names of all tasks below ``names``, which may be tasks, tags or groups; each once, in order."""
    found: dict[str, None] = {}
    for name in names:
        entry = index[name]
        members = sorted(entry.tags) if entry.kind.name == "TAG" else member_names(entry)
        below = leaf_names(index, members) if entry.kind.name in {"TAG", "GROUP"} else [name]
        found.update(dict.fromkeys(below))
    return list(found)


def member_names(entry: Any) -> list[str]:
    """Names listed under ``task:`` of a group; an inline definition is refused because its data cannot be repointed."""
    members = (entry.cfg or {}).get("task") if entry.kind.name == "GROUP" else []
    listed = [members] if isinstance(members, str) else list(members or [])
    for member in listed:
        if not isinstance(member, str):
            raise EvaluationError(f"group '{entry.name}': defines a member inline; name its tasks one by one instead")
    return listed


def localize(manager: TaskManager, name: str, folders: Sequence[Path]) -> TaskSource:
    """Replace the index entry of task ``name`` by its full configuration with documents from ``folders``."""
    from lm_eval.tasks._yaml_loader import load_yaml

    entry = manager.task_index[name]
    config: JsonObject = load_yaml(entry.yaml_path, resolve_func=True) if entry.yaml_path else dict(entry.cfg)
    if "class" in config or "dataset_path" not in config:
        raise EvaluationError(f"task '{name}': is defined in Python, which the planner does not run; leave it out")
    source = find_source(name, config, folders)
    for key in ("training_split", "validation_split", "test_split", "fewshot_split"):
        if config.get(key) in source.dropped_splits:
            config[key] = None
    config["custom_dataset"] = functools.partial(read_splits, source.files)
    config.pop("dataset_kwargs", None)
    entry.cfg, entry.yaml_path = config, None
    return source


def find_source(name: str, config: JsonObject, folders: Sequence[Path]) -> TaskSource:
    """Files of the splits that ``config`` names; a split only wanted for shots may be missing and is then dropped."""
    dataset, part = config["dataset_path"], config.get("dataset_name")
    evaluated = config.get("test_split") or config.get("validation_split")
    if evaluated is None:
        raise EvaluationError(f"task '{name}': names neither a test nor a validation split")
    files = {evaluated: require_split(folders, dataset, part, evaluated, name)}
    # All splits from one folder: what another one happens to hold is no input of the job.
    folders = [files[evaluated].folder]
    source = TaskSource(dataset, part or "default", evaluated, files)
    for key in ("training_split", "validation_split", "fewshot_split"):
        split = config.get(key)
        if split is None or split in files:
            continue
        found = find_split(folders, dataset, part, split)
        if found is None:
            source.dropped_splits.append(split)
        else:
            files[split] = found
    source.dropped_splits = sorted(set(source.dropped_splits))
    return source


@contextlib.contextmanager
def compiled_templates() -> Iterator[None]:
    """Compile each jinja template once instead of once per document (lm-eval 0.4.13: 404 against 7 microseconds)."""
    import lm_eval.utils

    original = lm_eval.utils.env.from_string
    lm_eval.utils.env.from_string = functools.lru_cache(maxsize=None)(original)
    try:
        yield
    finally:
        lm_eval.utils.env.from_string = original
