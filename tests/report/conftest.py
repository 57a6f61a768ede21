"""A made-up run on disk, drawn once per session."""

import pytest
from synthetic import write_run

from workflow_scripts.report.draw import main as draw
from workflow_scripts.report.registry import FIGURES as REGISTRY

# Shown in the page of the tests; the others are only drawn.
FIGURES = ["agreement_over_training", "scores_over_training", "five_shot_minus_zero_shot", "published_lambada"]


@pytest.fixture(scope="session")
def compact_path(root):
    return root / "config" / "suites" / "published" / "pythia-evals.parquet"


@pytest.fixture(scope="session")
def run_on_disk(tmp_path_factory, compact_path):
    return write_run(tmp_path_factory.mktemp("results"), compact_path)


def draw_arguments(paths, figures, output_dir):
    """Command line of the drawing program."""
    return [
        "--figure", *figures, "--run", str(paths["run"]), "--tables-dir", str(paths["tables"]),
        "--training-root", str(paths["training"]), "--output-dir", str(output_dir),
    ]  # fmt: skip


@pytest.fixture(scope="session")
def drawn(run_on_disk):
    """Folder with every figure."""
    folder = run_on_disk["run_dir"] / "figures"
    draw(draw_arguments(run_on_disk, list(REGISTRY), folder))
    return folder
