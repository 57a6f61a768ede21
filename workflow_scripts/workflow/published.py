"""What rules/published.smk looks up: where the published results come from, and whether a run is compared with them."""

from __future__ import annotations

from pathlib import Path

from workflow_scripts.suite import layout
from workflow_scripts.suite.figure_names import is_compared
from workflow_scripts.suite.run import Run

PUBLISHED_TABLE = "config/suites/published/pythia-evals.parquet"


def published_source(run: Run) -> str:
    """Folder of the original result files, the receipt of their download, or the table of this project."""
    chosen = run.section("published")
    own = run.suite.published or PUBLISHED_TABLE
    return str(chosen.get("source") or (layout.UPSTREAM_RECEIPT if chosen.get("repository") else own))


def beside_source(run: Run) -> list[str]:
    """What an import reads beside its source: the lists of a table, or a download and the table it is held to."""
    source = published_source(run)
    if source == layout.UPSTREAM_RECEIPT:
        return [layout.UPSTREAM, PUBLISHED_TABLE]
    table = Path(source)
    is_table = table.suffix == ".parquet"
    return [str(table.with_suffix(f".{name}.tsv")) for name in ("refused", "defects")] if is_table else []


def source_arguments(run: Run) -> list[str]:
    """Arguments that say where the results are; of a download also what they are held to."""
    if published_source(run) != layout.UPSTREAM_RECEIPT:
        return ["--source", published_source(run)]
    chosen = run.section("published")
    name = f"{chosen['repository']} {chosen.get('commit') or 'main'}"
    return ["--source", layout.UPSTREAM, "--source-name", name, "--expected", PUBLISHED_TABLE]


def upstream_arguments(run: Run) -> list[str]:
    """Arguments of the download of the original results."""
    chosen = run.section("published")
    commit = ["--commit", str(chosen["commit"])] if chosen.get("commit") else []
    return ["--location", str(chosen.get("repository")), *commit]


def comparison_table(run: Run) -> list[str]:
    """Ours against the published results: only where the run scores published models on published tasks."""
    models = [(model.version, model.arm) for model in run.models]
    compared = is_compared(run.suite.name, models, [task.name for task in run.tasks])
    return [f"{layout.run_folder(run.name)}/tables/comparison.parquet"] if compared else []
