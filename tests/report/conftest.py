"""A made-up run on disk, drawn once per session."""

from unittest import mock

import pytest
from figure_faults import faults
from synthetic_run import draw_arguments, write_run

from workflow_scripts.report import draw as draw_program
from workflow_scripts.report.draw import main as draw
from workflow_scripts.report.drawing.figure import save_drawing
from workflow_scripts.report.figures.all_figures import FIGURES as REGISTRY
from workflow_scripts.suite.experiment_files import TABLES


@pytest.fixture(scope="session")
def compact_path(root):
    return root / "config" / "suites" / "published" / "pythia-evals.parquet"


@pytest.fixture(scope="session")
def run_on_disk(tmp_path_factory, compact_path):
    return write_run(tmp_path_factory.mktemp("results"), compact_path)


@pytest.fixture(scope="session")
def figure_faults():
    """What is wrong with each figure that ``drawn`` has drawn, by its name."""
    return {}


@pytest.fixture(scope="session")
def drawn(run_on_disk, figure_faults):
    """Folder with every figure of a run without experiments."""
    folder = run_on_disk["run_dir"] / "figures"
    names = [name for name, entry in REGISTRY.items() if not TABLES.keys() & set(entry.needs)]

    def look_and_save(drawing, stem, *rest):
        figure_faults[stem.name] = faults(drawing.figure)
        save_drawing(drawing, stem, *rest)

    with mock.patch.object(draw_program, "save_drawing", look_and_save):
        draw(draw_arguments(run_on_disk, names, folder))
    return folder
