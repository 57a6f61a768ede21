"""Snakemake's own word on what a run consists of: a finished run is sealed, one with a lost output refused by name."""

import json
import os

import pytest

from tests.provenance.release.made_release import read_manifest
from tests.workflow.finished_run import RUN, FinishedRun, in_folder
from workflow_scripts import cli
from workflow_scripts.provenance import seal
from workflow_scripts.provenance.release import sealing
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import record_path
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.tools.check import merge

MANIFEST = "results/runs/small/seal.json"


@pytest.fixture(scope="module")
def made(root, tmp_path_factory):
    """A finished run in which each output has a record, and run.json is that of the run."""
    folder = tmp_path_factory.mktemp("made")
    for _ in in_folder(folder):
        run = FinishedRun(folder, root, **RUN)
        path = folder / "results/runs/small/run.json"
        facts = path.stat()
        resolved = load_run(merge(load_yaml(root / "config/config.yaml"), RUN)).as_json()
        path.write_text(json.dumps(resolved))
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        for output in (folder / str(each) for job in run.jobs(forceall=True) for each in job.output):
            if output.name in ("fetched.json", "sha256.txt"):
                facts = output.stat()
                content = {"repository": "pocket/pocket-90k", "revision": output.parent.name, "commit": None}
                output.write_text(json.dumps(content) if output.suffix == ".json" else f"{'0' * 64}  no-such-file\n")
                os.utime(output, ns=(facts.st_atime_ns, facts.st_mtime_ns))
            record = {"command": ["x.py"], "output_sha256": sha256_file(output), "inputs": {}, "parameters": {"p": 1}}
            record_path(output).write_text(json.dumps(record))
        yield run


@pytest.fixture
def program(made, monkeypatch):
    """Arguments of the program for the run, in a Snakemake that reads the run's own checkout."""
    monkeypatch.setenv("PYTHONPATH", str(made.folder))
    monkeypatch.setattr(sealing, "stale_outputs", lambda results: [])
    (made.folder / MANIFEST).unlink(missing_ok=True)
    return ["--run", "small", "--root", str(made.folder)]


@pytest.mark.slow
def test_every_output_of_every_job_is_sealed_with_its_rule(made, program):
    seal.main(program)
    manifest = read_manifest(made.folder / MANIFEST)
    jobs = {str(path): job.rule.name for job in made.jobs(forceall=True) for path in job.output}
    assert {output.path: output.rule for output in manifest.outputs} == jobs
    assert not manifest.partial
    assert {entry.step for entry in manifest.ledger} == {0, 1}
    assert {"config/suites/pocket.yaml", "config/figures.yaml"} <= {file.path for file in manifest.inputs}
    assert {"envs/base.lock", "config/suites/locks/checkpoints.tsv"} <= {file.path for file in manifest.locks}
    assert manifest.rules["score_checkpoint"].parameters == {"p": 1}


@pytest.mark.slow
def test_a_run_with_a_lost_output_is_refused(made, program, capsys):
    lost = made.folder / "results/runs/small/tables/scores.parquet"
    content, facts = lost.read_bytes(), lost.stat()
    lost.unlink()
    try:
        assert cli.run(seal.main, program) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "unfinished" in error
        assert "tables/scores.parquet" in error
        assert not (made.folder / MANIFEST).exists()
        seal.main([*program, "--partial"])
        manifest = read_manifest(made.folder / MANIFEST)
        assert "results/runs/small/tables/scores.parquet" in manifest.missing
    finally:
        lost.write_bytes(content)
        os.utime(lost, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_a_run_that_was_not_made_is_refused(program, capsys):
    assert cli.run(seal.main, ["--run", "smal", *program[2:]]) == 2
    assert "unknown run 'smal'; did you mean 'small'?" in capsys.readouterr().err
