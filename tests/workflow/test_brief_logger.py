"""The brief logger: a failing job is one readable block with the end of its log, and nothing else is lost."""

import logging
import os
import subprocess
import sys

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

SNAKEFILE = """
rule all:
    input: "good.txt", "bad-a.txt"

rule good:
    output: "good.txt"
    shell: "touch {output}"

rule bad:
    output: "bad-{name}.txt"
    log: "bad-{name}.log"
    shell: "echo 'error: corpus x.jsonl: there is no such file' > {log}; touch {output}; exit 2"
"""


@pytest.mark.slow
def test_a_failing_job_is_a_block_with_the_end_of_its_log(root, tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    plugins = os.pathsep.join([str(root), str(root / "workflow_scripts" / "snakemake_plugins")])
    outcome = subprocess.run(
        [sys.executable, "-m", "snakemake", "-c1", "--keep-going", "--logger", "brief"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": plugins},
    )
    assert outcome.returncode == 1
    block = ["FAILED bad name=a", "  error: corpus x.jsonl: there is no such file", "  whole log: bad-a.log"]
    assert "\n".join(block) in outcome.stderr
    assert outcome.stderr.count("FAILED") == 1
    assert "run: " in outcome.stderr
    assert len(outcome.stderr.splitlines()) < 12, outcome.stderr


@pytest.fixture
def handler(capsys):
    from snakemake.settings.types import OutputSettings

    sys.path.insert(0, "workflow_scripts/snakemake_plugins")
    try:
        from snakemake_logger_plugin_brief import LogHandler
    finally:
        sys.path.pop(0)
    return LogHandler(OutputSettings(), None)


def record(level=logging.INFO, message="", **extra):
    made = logging.LogRecord("snakemake", level, "", 0, message, None, None)
    made.__dict__.update(extra)
    return made


def test_progress_names_the_newest_job(handler, capsys):
    handler.emit(record(event=LogEvent.JOB_INFO, jobid=1, rule_name="train_model", wildcards={"model": "pocket-1m"}))
    handler.emit(record(event=LogEvent.PROGRESS, done=10, total=20))
    assert "50% 10 jobs" in (line := capsys.readouterr().err)
    assert "train_model model=pocket-1m" in line


def test_warnings_without_a_job_are_shown_and_chatter_is_not(handler, capsys):
    handler.emit(record(logging.ERROR, "Directory cannot be locked."))
    handler.emit(record(logging.WARNING, "Building DAG of jobs..."))
    assert capsys.readouterr().err == "Directory cannot be locked.\n"


def test_an_error_of_the_whole_run_is_shown_with_our_advice_where_snakemakes_is_dangerous(handler, capsys):
    handler.emit(record(logging.ERROR, "MissingRuleException: no rule", event=LogEvent.ERROR, exception="X"))
    handler.emit(record(logging.ERROR, "use --unlock", event=LogEvent.ERROR, exception="LockException"))
    first, second = capsys.readouterr().err.splitlines()
    assert first == "MissingRuleException: no rule"
    assert second.startswith("error: this folder is locked")
    assert "make unlock" in second


def test_a_missing_log_is_said(handler, capsys):
    handler.emit(record(logging.ERROR, event=LogEvent.JOB_ERROR, rule_name="x", log=["no/such.log"]))
    assert "(no log: No such file or directory)" in capsys.readouterr().err
