"""What a real run reads is what its rules declare, and what Snakemake offers for a finished run works on it."""

import os
import random
import re

import pytest

from tests.workflow.file_trace import reason_not_to_trace
from tests.workflow.finished_run import followers, in_folder
from tests.workflow.real_run import RealRun
from tests.workflow.test_every_file_is_a_node import RUN as EVERY_EXPERIMENT

RUN = {
    **EVERY_EXPERIMENT,
    "checkpoints": {"audit": True},
    # One of each kind of input. Two models of one size memorize too little for a figure of predictability.
    "figures": ["scores_over_training", "loss_over_training", "published_lambada", "interventions", "scaling"],
}
# Rules that a run needs only on request read files too.
TARGETS = ("all", "audit", "quickstart", "certificates", "notebook", "results/neox/pocket-90k/prepared.json")
# Files below results/ that no rule names: how jobs went, what outputs were made from, locks.
BESIDE = ("results/logs/", "results/timings/")
RECORD = ".record.json"
# Rules whose generated unit test cannot hold, and why; those of all others are run.
NOT_ALONE = {
    "build_report": "the page lists the records of the run, which are no inputs of the job",
    "run_notebook": "the last cell prints a chain of records",
    "prepare_neox": "GPT-NeoX wants absolute paths in its configuration, and the test has a folder of its own",
}
# A training's log holds its speeds, in columns 6 and 7; everything else of a file that is made again is byte-equal.
MEASURED = {"metrics.csv": re.compile(rb"(?<=,)[0-9.e+-]+,[0-9.e+-]+(?=,[^,\n]*,[^,\n]*$)", re.MULTILINE)}
# Appended to the module in which Snakemake lets its generated tests be adapted.
CHECKER = """
import sys

sys.path.insert(0, {root!r})
from tests.workflow.test_declared_files import without_measurements


class WithoutMeasurements(OutputChecker):
    def compare_files(self, expected_file, generated_file, cmp_cmds):
        files = expected_file, generated_file
        expected, generated = (without_measurements(str(path), path.read_bytes()) for path in files)
        assert expected == generated, str(expected_file)


OutputChecker = WithoutMeasurements
"""
N_DELETED = 30
SEED = 15
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    for _ in in_folder(folder):
        yield RealRun(folder, root, TARGETS, **RUN)


def is_working_file(path, written):
    """Whether ``path`` is below a hidden name that the job itself has written to."""
    parts = path.split("/")
    hidden = ["/".join(parts[: number + 1]) for number, part in enumerate(parts) if part.startswith(".")]
    return any(name == other or other.startswith(f"{name}/") for name in hidden for other in written)


def undeclared(job, files, folder):
    """Files that a job read and its rule does not name.

    Records are provenance, not data. The notebook's last cell prints a chain of them, for which the files that they
    are about are hashed.
    """
    prefixes = ("config/",) if job.rule.name == "run_notebook" else ("results/", "config/")
    declared = {str(path) for path in (*job.input, *job.output, *job.log)}
    folders = tuple(f"{path}/" for path in declared if (folder / path).is_dir())
    for path in sorted(files.read - declared):
        if not path.startswith(prefixes) or path.startswith(folders):
            continue
        if path.endswith((RECORD, ".lock")) or "/.store/" in path or (folder / path).is_dir():
            continue
        if not is_working_file(path, files.written):
            yield path


def test_jobs_read_no_file_that_their_rule_does_not_declare(finished):
    """Beside records, locks, their own hidden files, and the store of contents named by the hash that is checked."""
    if reason_not_to_trace():
        pytest.skip(reason_not_to_trace())
    jobs = {str(job.log[0]): job for job in finished.jobs(forceall=True) if job.log}
    assert set(jobs) == set(finished.opened) - {""}
    assert len({job.rule.name for job in jobs.values()}) > 40
    found = {log: list(undeclared(job, finished.opened[log], finished.folder)) for log, job in jobs.items()}
    assert not {log: paths for log, paths in found.items() if paths}


def test_nothing_is_left_to_do(finished):
    assert finished.jobs() == []


def test_every_file_of_the_run_is_known_to_the_graph(finished):
    listed = finished.snakemake(*TARGETS, "--list-untracked")
    assert listed.returncode == 0, listed.stderr
    untracked = [line for line in (listed.stdout + listed.stderr).splitlines() if line.startswith("results/")]
    assert [path for path in untracked if path.startswith(BESIDE)]
    # Of a folder that is an output Snakemake knows the folder alone.
    outputs = {str(path) for job in finished.jobs(forceall=True) for path in job.output}
    folders = tuple(f"{path}/" for path in outputs if (finished.folder / path).is_dir())
    assert not [path for path in untracked if not path.startswith((*BESIDE, *folders)) and not path.endswith(RECORD)]


def test_the_summary_says_that_everything_is_up_to_date(finished):
    done = finished.snakemake(*TARGETS, "--summary")
    assert done.returncode == 0, done.stderr
    header, *lines = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    assert len(rows) > 300
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["plan"] for row in rows} == {"no update"}


def test_snakemake_writes_its_own_report(finished):
    done = finished.snakemake("--report", "report.html")
    assert done.returncode == 0, done.stderr
    page = (finished.folder / "report.html").read_text()
    assert "scores_over_training" in page
    assert "Comparison" not in page or "Figures" in page


def test_the_rules_are_free_of_what_snakemake_advises_against(finished):
    done = finished.snakemake("--lint")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Congratulations" in done.stdout + done.stderr


def test_the_unit_tests_that_snakemake_generates_pass(finished, root):
    """One test for each rule: a job run alone, on exactly its declared inputs, makes the same bytes again."""
    done = finished.snakemake(*TARGETS, "--generate-unit-tests")
    assert done.returncode == 0, done.stderr
    folder = finished.folder / ".tests/unit"
    tests = {path.stem.removeprefix("test_"): str(path) for path in folder.glob("test_*.py")}
    assert len(tests) > 45
    assert set(tests) >= NOT_ALONE.keys()
    with (folder / "common.py").open("a") as common:
        common.write(CHECKER.format(root=str(root)))
    chosen = sorted(path for rule, path in tests.items() if rule not in NOT_ALONE)
    options = ["-q", "-n", "2", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."]
    done = finished.start("pytest", *options, *chosen)
    assert done.returncode == 0, done.stdout[-8000:]


def related(jobs):
    """Function that says whether one of two jobs depends on the other."""
    after = followers(jobs)
    return lambda one, other: one is other or one in after[other] or other in after[one]


def groups_of(paths, made, jobs):
    """``paths`` in groups, each of files whose jobs do not depend on each other."""
    depend, groups = related(jobs), []
    for path in paths:
        group = next((g for g in groups if not any(depend(made[path], made[other]) for other in g)), None)
        if group is None:
            groups.append([path])
        else:
            group.append(path)
    return groups


def without_measurements(path, content):
    """Bytes of an output without the speeds in it."""
    pattern = MEASURED.get(path.rpartition("/")[2])
    return pattern.sub(b"", content) if pattern else content


def test_deleted_files_are_made_again_byte_equal(finished):
    jobs = finished.jobs(forceall=True)
    made = {str(path): job for job in jobs for path in job.output if (finished.folder / str(path)).is_file()}
    before = {path: without_measurements(path, (finished.folder / path).read_bytes()) for path in made}
    chosen = random.Random(SEED).sample(sorted(made), N_DELETED)
    for group in groups_of(chosen, made, jobs):
        for path in group:
            (finished.folder / path).unlink()
        done = finished.snakemake(*TARGETS)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not [path for path in group if not (finished.folder / path).is_file()]
    after = {path: without_measurements(path, (finished.folder / path).read_bytes()) for path in made}
    assert [path for path in before if before[path] != after[path]] == []
    assert finished.jobs() == []
