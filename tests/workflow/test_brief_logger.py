"""The brief logger: a failing job is one readable block with the end of its log, and nothing else is lost."""

import importlib
import logging
import os
import subprocess
import sys

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from workflow_scripts.progress import Progress

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
    block = ["FAILED bad name=a", "  error: corpus x.jsonl: there is no such file", "  full log: bad-a.log"]
    assert "\n".join(block) in outcome.stderr
    assert outcome.stderr.count("FAILED") == 1
    assert "run: " in outcome.stderr
    assert "CalledProcessError" not in outcome.stderr, "the program's own line says more"
    assert len(outcome.stderr.splitlines()) < 12, outcome.stderr


@pytest.fixture
def plugin(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "workflow_scripts" / "snakemake_plugins")
    module = importlib.import_module("snakemake_logger_plugin_brief")
    monkeypatch.setattr(module.LogHandler, "made", False)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    return module


@pytest.fixture
def make(plugin, monkeypatch, tmp_path, capsys):
    """A handler as the command line ``snakemake *words`` gets it, in an empty folder."""
    from snakemake.settings.types import OutputSettings

    monkeypatch.chdir(tmp_path)

    def made(*words, **settings):
        monkeypatch.setattr(sys, "argv", ["snakemake", *words])
        return plugin.LogHandler(OutputSettings(**settings), None)

    return made


@pytest.fixture
def handler(make):
    return make("-c2")


def record(level=logging.INFO, message="", **extra):
    made = logging.LogRecord("snakemake", level, "", 0, message, None, None)
    made.__dict__.update(extra)
    return made


def test_progress_names_the_newest_job(handler, capsys):
    handler.emit(record(event=LogEvent.JOB_INFO, jobid=1, rule_name="train_model", wildcards={"model": "pocket-1m"}))
    handler.emit(record(event=LogEvent.PROGRESS, done=10, total=20))
    assert "50% 10 jobs" in (line := capsys.readouterr().err)
    assert "train_model model=pocket-1m" in line


def test_a_clean_run_of_5000_jobs_prints_hundreds_of_lines_at_most(handler, capsys, monkeypatch):
    """Into a log file, with what Snakemake and the Slurm plugin say of each job, at two jobs a second."""
    now = [0.0]
    handler.progress = Progress("run", 1, "jobs", clock=lambda: now[0])
    for number in range(5000):
        now[0] += 0.5
        wildcards = {"model": "pythia-70m", "step": str(number)}
        handler.emit(record(logging.INFO, "Select jobs to execute..."))
        handler.emit(record(logging.INFO, "Execute 1 jobs...", event=LogEvent.JOB_STARTED, jobs=[number]))
        handler.emit(record(event=LogEvent.JOB_INFO, jobid=number, rule_name="score_checkpoint", wildcards=wildcards))
        handler.emit(record(logging.INFO, "Shell command: x", event=LogEvent.SHELLCMD, shellcmd="x"))
        handler.emit(record(logging.INFO, f"Job {number} has been submitted with SLURM jobid {number}."))
        handler.emit(record(logging.INFO, f"Finished jobid: {number}", event=LogEvent.JOB_FINISHED, job_id=number))
        handler.emit(record(event=LogEvent.PROGRESS, done=number + 1, total=5000))
    lines = capsys.readouterr().err.splitlines()
    assert 20 <= len(lines) <= 300
    assert "100% 5,000 jobs" in lines[-1]


def test_what_a_cluster_says_of_a_failed_job_stands_above_its_log_in_ten_lines(handler, capsys, tmp_path):
    (tmp_path / "own.log").write_text("".join(f"line {number}\n" for number in range(40)))
    (tmp_path / "slurm.log").write_text("much else\n" * 40)
    reason = ["TIMEOUT, Slurm job 7 on n1; attempt 1 of 3", "attempt 2 of 3 will request 4,000 MB, 120 min"]
    reason.append("of the 4 in this allocation: 1 finished, 2 not started")
    logs = ["own.log", "slurm.log"]
    handler.emit(
        record(logging.ERROR, event=LogEvent.JOB_ERROR, rule_name="x", wildcards={}, log=logs, aux={"reason": reason})
    )
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 10
    assert said[:4] == ["FAILED x", *(f"  {line}" for line in reason)]
    assert said[4:8] == [f"  line {number}" for number in range(36, 40)]
    assert said[8:] == ["  full log: own.log", "  full log: slurm.log"]


def test_a_run_that_is_asked_to_end_names_what_it_waits_for(handler, capsys):
    for number in range(5):
        started = {"event": LogEvent.JOB_INFO, "jobid": number, "rule_name": "train", "wildcards": {"model": number}}
        handler.emit(record(**started))
    handler.emit(record(logging.INFO, "Finished", event=LogEvent.JOB_FINISHED, job_id=1))
    for _ in range(2):
        handler.emit(record(logging.INFO, "Will exit after finishing currently running jobs (scheduler)."))
    handler.emit(record(logging.INFO, "Terminating processes on user request, this might take some time."))
    assert capsys.readouterr().err.splitlines() == [
        "ending: waiting for 4 running jobs: train model=0, train model=2, train model=3 and 1 more",
        "interrupted: stopping 4 running jobs: train model=0, train model=2, train model=3 and 1 more",
    ]
    for number in (0, 2, 3, 4):
        handler.emit(record(logging.INFO, "Finished", event=LogEvent.JOB_FINISHED, job_id=number))
    handler.emit(record(logging.INFO, "Will exit after finishing currently running jobs (scheduler)."))
    assert capsys.readouterr().err == ""


def test_another_attempt_is_told_and_its_failure_is_a_block_of_its_own(handler, capsys):
    started = {"event": LogEvent.JOB_INFO, "jobid": 7, "rule_name": "train_model", "wildcards": {"model": "a"}}
    failed = {"event": LogEvent.JOB_ERROR, "jobid": 7, "rule_name": "train_model", "log": []}
    for events in ((started, failed, failed), (started, failed)):
        for event in events:
            handler.emit(record(logging.ERROR, **event))
        handler.emit(record(logging.INFO, "Trying to restart job 7."))
    block = ["FAILED train_model model=a", "retrying: train_model model=a"]
    assert capsys.readouterr().err.splitlines() == block * 2


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


def test_of_several_logs_the_first_with_a_text_is_shown_and_all_are_named(handler, capsys, tmp_path):
    for name, text in (("empty", ""), ("own", "error: x\n"), ("slurm", "much else\n")):
        (tmp_path / name).write_text(text)
    handler.emit(record(logging.ERROR, event=LogEvent.JOB_ERROR, rule_name="x", log=["empty", "own", "slurm"]))
    said = ["FAILED x", "  error: x", "  full log: empty", "  full log: own", "  full log: slurm"]
    assert capsys.readouterr().err.splitlines() == said


def test_a_missing_log_is_said(handler, capsys):
    handler.emit(record(logging.ERROR, event=LogEvent.JOB_ERROR, rule_name="x", log=["no/such.log"]))
    assert "(no log: No such file or directory)" in capsys.readouterr().err


def test_an_empty_log_on_a_full_disk_is_told_from_an_empty_log(handler, plugin, capsys, tmp_path, monkeypatch):
    (tmp_path / "x.log").touch()
    assert plugin.tail(tmp_path / "x.log") == ["(the log is empty)"]
    free = os.statvfs(tmp_path)
    full = os.statvfs_result([*free[:4], 0, *free[5:]])
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    assert plugin.tail(tmp_path / "x.log") == [f"error: {tmp_path}: the disk is full; free some space and rerun"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("OSError in file x:\n[Errno 28] No space left on device\n", ".snakemake: the disk is full; free some space"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/a b'", "/a b: no such file or folder"),
        ("WorkflowError:\nmetadata ([Errno 122] Disk quota exceeded). Please", ".snakemake: disk quota exceeded"),
        (
            "PermissionError: [Errno 13] Permission denied: '/home/me/.cache'",
            "; set HOME, which is /home/me, to a folder",
        ),
    ],
)
def test_what_the_operating_system_says_to_snakemake_is_one_line(handler, capsys, monkeypatch, text, line):
    monkeypatch.setenv("HOME", "/home/me")
    handler.emit(record(logging.ERROR, text, event=LogEvent.ERROR, exception="OSError"))
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert line in said
    assert said.count("\n") == 1


def test_a_run_with_nothing_to_do_says_so(handler, capsys):
    handler.emit(record(logging.INFO, "Nothing to be done (all requested files are present and up to date)."))
    assert capsys.readouterr().err.startswith("Nothing to be done")


def test_a_quiet_run_says_only_what_fails(make, capsys):
    from snakemake.settings.types import Quietness

    handler = make("-c2", "--quiet", quiet={Quietness.PROGRESS})
    handler.emit(record(event=LogEvent.PROGRESS, done=10, total=20))
    assert capsys.readouterr().err == ""
    handler.emit(record(logging.ERROR, event=LogEvent.JOB_ERROR, rule_name="x", log=[]))
    assert capsys.readouterr().err == "FAILED x\n"


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (["-n", "-p"], {"dryrun": True, "printshellcmds": True}),
        (["--lint"], {}),
        (["-c1", "-p"], {"printshellcmds": True}),
        (["-c1", "--verbose"], {"verbose": True}),
    ],
)
def test_who_asks_to_see_more_gets_snakemakes_own_lines(make, capsys, words, settings):
    handler = make(*words, **settings)
    handler.emit(record(logging.INFO, "Job stats: ..."))
    handler.emit(record(event=LogEvent.PROGRESS, done=10, total=20))
    said = capsys.readouterr().err
    assert "Job stats: ..." in said
    assert "10 of 20 steps (50%) done" in said
    assert "run: " not in said


def test_a_dry_run_is_a_line_per_rule_with_the_reason_that_says_most(make, capsys):
    handler = make("-n", dryrun=True)
    missing = f"Missing output files: {', '.join(f'file-{number}.txt' for number in range(50))}"
    for name, model, reason in (
        ("fetch", "a", missing),
        ("score", "a", "Input files updated by another job: x"),
        ("score", "b", "Params have changed since last execution: limit"),
        ("score", "c", "Code has changed since last execution"),
    ):
        wildcards = {"model": model}
        handler.emit(record(event=LogEvent.JOB_INFO, rule_name=name, wildcards=wildcards, reason=reason))
    for text in ("Building DAG of jobs...", "Reasons:\n    (check individual jobs above for details)"):
        handler.emit(record(message=text))
    handler.emit(record(event=LogEvent.RUN_INFO, message="Job stats:"))
    handler.emit(record(message="a warning about metadata"))
    last = record(message="This was a dry-run (flag -n).")
    handler.emit(last)
    assert capsys.readouterr().err.splitlines() == [
        "a warning about metadata",
        "   jobs  the first of each rule, and why it runs",
        "      1  fetch model=a  Missing output files: file-0.txt, file-1.txt, file-2.txt, file-3.txt, file-4 ...",
        "      3  score model=b  Params have changed since last execution: limit",
        "      4  jobs in all, none of them run (-n); -p shows all of each job",
    ]
    assert last.getMessage().startswith("This was a dry-run"), "Snakemake's log file gets its own line"


def test_a_quiet_dry_run_keeps_its_table_of_jobs(make, capsys):
    from snakemake.settings.types import Quietness

    handler = make("-n", "--quiet", dryrun=True, quiet={Quietness.RULES, Quietness.PROGRESS})
    handler.emit(record(event=LogEvent.RUN_INFO, message="Job stats: 5"))
    handler.emit(record(event=LogEvent.JOB_INFO, rule_name="x"))
    assert capsys.readouterr().err == "Job stats: 5\n"


def test_a_configuration_is_read_strictly_before_snakemake_reads_it(make, capsys, tmp_path):
    (tmp_path / "twice.yaml").write_text("run: a\nrun: b\n")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("run: good\n")
    for words in (["-c1", "--configfile", "twice.yaml"], ["-n", "--configfile", "config/config.yaml", "twice.yaml"]):
        with pytest.raises(SystemExit) as ended:
            make(*words)
        assert ended.value.code == 2
        assert capsys.readouterr().err.startswith("error: twice.yaml: duplicate key 'run', ")
    (tmp_path / "config" / "config.yaml").write_text("run: [\n")
    with pytest.raises(SystemExit):
        make("-c1")
    assert capsys.readouterr().err.startswith("error: config/config.yaml: line 2: ")


def test_a_run_without_this_logger_still_reports_failed_jobs(plugin, make, capsys, monkeypatch):
    other, words = logging.Logger("other"), ["snakemake", "-c1"]
    plugin.listen(other, ["snakemake", "-n"])
    assert other.handlers == []
    plugin.listen(other, words)
    other.handle(record(logging.ERROR, "Snakemake's own", event=LogEvent.JOB_ERROR, rule_name="x", log=["no.log"]))
    other.handle(record(logging.INFO, "Snakemake's own"))
    assert capsys.readouterr().err == "FAILED x\n  (no log: No such file or directory)\n  full log: no.log\n"
    plugin.listen(other, words)
    assert len(other.handlers) == 1, "one is enough"
