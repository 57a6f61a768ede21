r"""Write what lm-eval's tasks read, as a table: data set, configuration and splits of each task, and its groups.

The table lets the graph name every file of evaluation data without importing lm-eval, which takes seconds. It is part
of the project and holds for the pinned lm-eval; after a change of that version write it again and read the difference.

    python -m workflow_scripts.evaluation.task_table --output config/suites/lm-eval-tasks.tsv
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workflow_scripts import cli
from workflow_scripts.evaluation.planning.tasks import QUICK_FOLDERS, leaf_names, offline
from workflow_scripts.storage.atomic import write_text
from workflow_scripts.storage.records import write_record
from workflow_scripts.suite.task_facts import COLUMNS, NO_CONFIG, TABLE, TaskFacts

# Splits of a definition; the one that is evaluated comes first.
OTHER_SPLITS = ("training_split", "validation_split", "fewshot_split")
LOGGER = logging.getLogger(__name__)


def facts_of_tasks(folders: Sequence[str] = tuple(QUICK_FOLDERS.values())) -> list[TaskFacts]:
    """Facts of every task that is defined in ``folders`` of lm-eval's own tasks, by name."""
    index = task_index(folders)
    groups = {
        name: set(leaf_names(index, [name])) for name, entry in sorted(index.items()) if entry.kind.name == "GROUP"
    }
    found = (facts_of(name, entry, groups) for name, entry in sorted(index.items()) if entry.kind.name == "TASK")
    return [facts for facts in found if facts is not None]


def task_index(folders: Sequence[str]) -> Any:
    """lm-eval's index of ``folders`` below its tasks."""
    import lm_eval.tasks

    package = Path(lm_eval.tasks.__file__).parent
    paths = [str(package / folder) for folder in dict.fromkeys(folders)]
    return lm_eval.tasks.TaskManager(include_path=paths, include_defaults=False).task_index


def facts_of(name: str, entry: Any, groups: Mapping[str, set[str]]) -> TaskFacts | None:
    """Facts of one task; None for one whose definition names no data set."""
    from lm_eval.tasks._yaml_loader import load_yaml

    config: dict[str, Any] = load_yaml(entry.yaml_path, resolve_func=False)
    splits = tuple(dict.fromkeys(splits_of(config)))
    if "class" in config or "dataset_path" not in config or not splits:
        return None
    return TaskFacts(
        task=name,
        dataset=config["dataset_path"],
        config=config.get("dataset_name") or NO_CONFIG,
        splits=splits,
        output_type=config.get("output_type", "generate_until"),
        groups=tuple(sorted((g for g, members in groups.items() if name in members), key=lambda g: -len(groups[g]))),
    )


def splits_of(config: Mapping[str, Any]) -> Iterator[str]:
    """The evaluated split, then all others that the definition names."""
    evaluated = config.get("test_split") or config.get("validation_split")
    for split in (evaluated, *(config.get(key) for key in OTHER_SPLITS)):
        if split:
            yield split


def format_table(facts: Sequence[TaskFacts]) -> str:
    """Text of the table."""
    lines = ["\t".join(COLUMNS)]
    lines += [
        "\t".join((f.task, f.dataset, f.config, ",".join(f.splits), f.output_type, ",".join(f.groups))) for f in facts
    ]
    return "\n".join(lines) + "\n"


@offline()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--output", type=Path, default=TABLE, help="table to write")
    options = parser.parse_args(arguments)
    facts = facts_of_tasks()
    write_text(options.output, format_table(facts))
    write_record(options.output, {}, {"folders": sorted(set(QUICK_FOLDERS.values()))})
    LOGGER.info("%s: %d tasks", options.output, len(facts))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
