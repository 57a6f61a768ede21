"""Copied results are accepted when their hashes are those of the records, and refused by name when they are not."""

import json
import os
import shutil

import pytest

from tests.workflow.finished_run import RUN, FinishedRun, in_folder
from workflow_scripts.errors import IntegrityError, MissingInputError, PipelineError
from workflow_scripts.provenance import adopt
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import record_path

TABLE = "results/runs/small/tables/scores.parquet"


@pytest.fixture(scope="module")
def made(root, tmp_path_factory):
    """A finished run in which each output but CSV files has a record."""
    folder = tmp_path_factory.mktemp("made")
    for _ in in_folder(folder):
        run = FinishedRun(folder, root, **RUN)
        for job in run.jobs(forceall=True):
            for path in (folder / str(output) for output in job.output):
                if path.suffix == ".csv":
                    continue
                # Made-up contents; a list of files has to be one.
                if path.name == "sha256.txt":
                    path.write_text(f"{'0' * 64}  no-such-file\n")
                record = {"command": ["x"], "output_sha256": sha256_file(path), "inputs": {}, "parameters": {}}
                record_path(path).write_text(json.dumps(record))
        (folder / "run.json").write_text(json.dumps(RUN))
        yield run


@pytest.fixture
def copied(made, tmp_path, monkeypatch):
    """The same run copied into another folder: younger than its inputs in no order, and unknown to Snakemake."""
    shutil.copytree(made.folder, tmp_path / "copy", symlinks=True, ignore=shutil.ignore_patterns(".snakemake"))
    run = object.__new__(FinishedRun)
    run.folder, run.targets, run.config = tmp_path / "copy", set(), RUN
    for number, path in enumerate(sorted((run.folder / "results").rglob("*"))):
        os.utime(path, (1_700_000_000 - number, 1_700_000_000 - number))
    monkeypatch.chdir(run.folder)
    monkeypatch.setenv("PYTHONPATH", str(run.folder))
    return run


@pytest.mark.slow
def test_a_copied_run_is_marked_as_up_to_date(copied):
    assert len(copied.jobs()) > 20
    adopt.main(["--", "--configfile", "run.json"])
    assert copied.jobs() == []


def test_what_does_not_verify_is_refused_by_name_and_nothing_is_marked(copied):
    (copied.folder / TABLE).write_text("changed")
    before = len(copied.jobs())
    with pytest.raises(IntegrityError, match=TABLE):
        adopt.main(["--", "--configfile", "run.json"])
    assert len(copied.jobs()) == before


@pytest.mark.slow
def test_without_the_refused_file_the_rest_is_accepted(copied):
    (copied.folder / TABLE).unlink()
    adopt.main(["--", "--configfile", "run.json"])
    rules = {job.rule.name for job in copied.jobs()}
    assert "collect_scores" in rules
    assert rules <= {"collect_scores", "audit_scores", "draw_figure", "build_report", "all"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--results", "nowhere"], MissingInputError, "nowhere: no such folder"),
        (["--", "--config", "models=pocket-91k"], PipelineError, "did you mean"),
    ],
)
def test_a_mistake_is_one_line(copied, arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        adopt.main(arguments)
    assert "\n" not in str(caught.value)


def test_results_without_records_are_not_accepted(copied):
    for path in (copied.folder / "results").rglob("*.record.json"):
        path.unlink()
    with pytest.raises(MissingInputError, match="no output of this run has a record"):
        adopt.main(["--", "--configfile", "run.json"])


def test_hashes_come_from_records_their_inputs_figures_and_lists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results"
    folder.mkdir()
    record = {
        "command": ["draw"],
        "output_sha256": None,
        "inputs": {"table": {"path": "results/table", "sha256": "a" * 64}},
        "parameters": {"sha256": {"svg": "b" * 64}},
    }
    (folder / "figure.record.json").write_text(json.dumps(record))
    (folder / "sha256.txt").write_text(f"{'c' * 64}  weights\n")
    found = {str(path): hashes for path, hashes in adopt.recorded_hashes(adopt.Path("results")).items()}
    expected = {"results/table": {"a" * 64}, "results/figure.svg": {"b" * 64}, "results/weights": {"c" * 64}}
    assert found == expected
