"""A made-up run on disk, drawn once per session."""

import pytest
from synthetic_run import draw_arguments, write_run

from workflow_scripts.report.draw import main as draw
from workflow_scripts.report.figures.all_figures import FIGURES as REGISTRY
from workflow_scripts.suite.experiment_files import TABLES


@pytest.fixture(scope="session")
def compact_path(root):
    return root / "config" / "suites" / "published" / "pythia-evals.parquet"


@pytest.fixture(scope="session")
def run_on_disk(tmp_path_factory, compact_path):
    return write_run(tmp_path_factory.mktemp("results"), compact_path)


@pytest.fixture(scope="session")
def drawn(run_on_disk):
    """Folder with every figure of a run without experiments."""
    folder = run_on_disk["run_dir"] / "figures"
    names = [name for name, entry in REGISTRY.items() if not TABLES.keys() & set(entry.needs)]
    draw(draw_arguments(run_on_disk, names, folder))
    return folder
