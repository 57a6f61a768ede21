"""What lm-eval's tasks read, from the table ``config/suites/lm-eval-tasks.tsv``, and which of them a name stands for.

A run may name a task in lm-eval's words (a task, a group, a pattern such as ``blimp_*``) and in those of 2023
(``hendrycksTest-*``). The table is written by workflow_scripts.evaluation.task_table and says of each task its data
set, configuration and splits, the evaluated one first, so that planning imports no lm-eval.
"""

import fnmatch
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from workflow_scripts import ROOT
from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.suite.models import Suite, Task

TABLE = ROOT / "config" / "suites" / "lm-eval-tasks.tsv"
COLUMNS = ("task", "dataset", "config", "splits", "output_type", "groups")
NO_CONFIG = "default"  # how folders call the configuration of a data set that has only one
GENERATED = "generate_until"
VALIDATION = "_validation"  # appended to a task's name: the same task on its validation split
PATTERN = re.compile(r"[*?\[]")
# Names of 2023 that lm-eval has changed, and what they are now.
RENAMED = (("hendrycksTest-", "mmlu_"), ("hendrycksTest", "mmlu"))


@dataclass(frozen=True)
class TaskFacts:
    """One task of lm-eval; ``splits`` are all it names, the evaluated one first, ``groups`` from large to small."""

    task: str
    dataset: str
    config: str
    splits: tuple[str, ...]
    output_type: str
    groups: tuple[str, ...]


@functools.cache
def all_facts() -> dict[str, TaskFacts]:
    """Facts of every task of the table, by name."""
    header, *lines = TABLE.read_text(encoding="utf-8").splitlines()
    if tuple(header.split("\t")) != COLUMNS:
        raise ConfigError(f"{TABLE}: its columns are not {', '.join(COLUMNS)}; write it with evaluation.task_table")
    rows = (line.split("\t") for line in lines)
    return {
        task: TaskFacts(task, dataset, config, tuple(splits.split(",")), kind, tuple(filter(None, groups.split(","))))
        for task, dataset, config, splits, kind, groups in rows
    }


@functools.cache
def all_groups() -> dict[str, frozenset[str]]:
    """Tasks below each group of the table, the largest group first."""
    members: dict[str, set[str]] = {}
    for facts in all_facts().values():
        for group in facts.groups:
            members.setdefault(group, set()).add(facts.task)
    return {group: frozenset(members[group]) for group in sorted(members, key=lambda name: -len(members[name]))}


def tasks_below(name: str) -> list[TaskFacts]:
    """Facts of a task, or of all tasks of a group; none for a name that the table does not have.

    >>> [facts.task for facts in tasks_below("piqa")], len(tasks_below("mmlu")), tasks_below("pocket_facts")
    (['piqa'], 57, [])
    """
    if name.endswith(VALIDATION) and (plain := all_facts().get(name.removesuffix(VALIDATION))):
        return [replace(plain, task=name, splits=tuple(dict.fromkeys((VALIDATION.strip("_"), *plain.splits[1:]))))]
    names = all_groups().get(name, frozenset([name]))
    return [facts for facts in all_facts().values() if facts.task in names]


def name_today(name: str) -> str:
    """What lm-eval calls today what was called ``name`` in 2023.

    >>> name_today("hendrycksTest-*"), name_today("hendrycksTest*"), name_today("hendrycksTest-anatomy")
    ('mmlu_*', 'mmlu*', 'mmlu_anatomy')
    """
    old, new = next(((old, new) for old, new in RENAMED if name.startswith(old)), ("", ""))
    return new + name.removeprefix(old)


def select_tasks(suite: Suite, wanted: str | Iterable[str]) -> tuple[tuple[Task, ...], tuple[str, ...]]:
    """Tasks that a run names, each once, and a line about each name of 2023.

    Raises UnknownNameError for a name or pattern that fits neither the suite nor the table.
    """
    if wanted == "all":
        return tuple(suite.tasks.values()), ()
    names = [name.strip() for name in (wanted.split(",") if isinstance(wanted, str) else wanted)]
    chosen = {task.name: task for name in names for task in tasks_named(suite, name)}
    kept = tuple(task for name, task in chosen.items() if not any(is_part(name, other) for other in chosen))
    return kept, tuple(renaming(suite, name) for name in names if name_today(name) != name)


def is_part(name: str, other: str) -> bool:
    """True when every task below ``name`` is below ``other``, which has more.

    >>> is_part("mmlu_anatomy", "mmlu"), is_part("mmlu_stem", "mmlu"), is_part("mmlu", "mmlu"), is_part("piqa", "mmlu")
    (True, True, False, False)
    """
    return all_groups().get(name, frozenset([name])) < all_groups().get(other, frozenset())


def renaming(suite: Suite, name: str) -> str:
    """One line that says what a name of 2023 stands for."""
    meant = ", ".join(task.name for task in tasks_named(suite, name))
    return f"task {name}: lm-eval calls it {meant} today; evaluation.protocols: [pythia-2023] asks it as in 2023"


def tasks_named(suite: Suite, name: str) -> list[Task]:
    """Tasks that one entry of ``tasks`` names."""
    today = name_today(name)
    if today in suite.tasks:
        return [suite.tasks[today]]
    if PATTERN.search(today):
        return tasks_matching(suite, name, today)
    if not tasks_below(today):
        raise UnknownNameError("task", name, known_names(suite))
    refuse_generated(name, tasks_below(today))
    return [described(suite, today)]


def known_names(suite: Suite) -> list[str]:
    """All that a run may name, for hints: the suite's tasks, lm-eval's groups and tasks, names of 2023."""
    return [*suite.tasks, *all_groups(), *all_facts(), *(f"{old}*" for old, _ in RENAMED)]


def tasks_matching(suite: Suite, name: str, pattern: str) -> list[Task]:
    """Tasks of the suite and of lm-eval that fit ``pattern``; a group in place of its tasks where all of them fit."""
    known = {facts.task for facts in all_facts().values() if facts.output_type != GENERATED}
    found = {task for task in known | {key for key in suite.tasks if key not in all_groups()} if fits(task, pattern)}
    if not found:
        raise UnknownNameError("task pattern", name, known_names(suite))
    whole = []
    for group, members in all_groups().items():
        if members <= found:
            whole.append(group)
            found -= members
    return [described(suite, task) for task in (*whole, *sorted(found))]


def fits(name: str, pattern: str) -> bool:
    """True when ``pattern`` is one of ``name``."""
    return fnmatch.fnmatchcase(name, pattern)


def refuse_generated(name: str, facts: Iterable[TaskFacts]) -> None:
    """Raise ConfigError for a task whose answer is generated text."""
    if any(one.output_type == GENERATED for one in facts):
        raise ConfigError(
            f"task '{name}': its answers are generated text, which only stock lm-eval makes; ask for it with "
            f"evaluation.stock_tasks: {{{name}: [0]}}"
        )


def described(suite: Suite, name: str) -> Task:
    """The suite's task called ``name``, or one made from the table, in the likeness of the suite's on the same data."""
    if name in suite.tasks:
        return suite.tasks[name]
    repository = tasks_below(name)[0].dataset
    like = next((task for task in suite.tasks.values() if task.repository == repository), None)
    plain = like or Task(name, repository, "acc", name, None)
    return replace(plain, name=name, title=name)
