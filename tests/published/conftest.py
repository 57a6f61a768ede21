"""The original result files, imported once per session, and the compact table of the project."""

import pytest

from workflow_scripts.published.import_results import build_table, import_folder
from workflow_scripts.published.results_table import read_table


@pytest.fixture(scope="session")
def compact_path(root):
    return root / "config" / "suites" / "published" / "pythia-evals.parquet"


@pytest.fixture(scope="session")
def compact(compact_path):
    return read_table(compact_path)


@pytest.fixture(scope="session")
def evals(shared):
    return shared / "upstream" / "evals"


@pytest.fixture(scope="session")
def imported(evals):
    return import_folder(evals)


@pytest.fixture(scope="session")
def built(imported):
    return build_table(imported)
