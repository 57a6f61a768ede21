"""Names, notes and progress of submitted jobs."""

import dataclasses
import os
import types

import pytest

from workflow_scripts.workflow.cluster import submitted_jobs
from workflow_scripts.workflow.cluster.submitted_jobs import Note


@dataclasses.dataclass
class Job:
    """What is used of Snakemake's jobs."""

    step: int
    resources: dict = dataclasses.field(default_factory=lambda: {"mem_mb": 1000, "runtime": 60})
    attempt: int = 1
    restart_times: int = 2
    params: str = ""

    def __post_init__(self):
        self.rule = types.SimpleNamespace(name="score_checkpoint")
        self.wildcards = {"model": "pythia-70m", "step": str(self.step), "kind": ""}
        self.input, self.output, self.log = [f"in{self.step}"], [f"out{self.step}"], [f"log{self.step}"]

    @property
    def non_derived_params(self):
        return self.params

    def __lt__(self, other):
        return self.step < other.step

    def is_group(self):
        return False


class Group(Job):
    def __init__(self, *steps):
        super().__init__(steps[0])
        self.toposorted = [[Job(step) for step in steps]]

    def is_group(self):
        return True


def test_a_name_carries_model_and_steps_in_their_order_and_is_never_used_again():
    name = submitted_jobs.name_of("pythia", Group(1000, 16, 128))
    assert name.startswith("pythia_score_checkpoint_pythia-70m_16+128+1000_")
    assert name != submitted_jobs.name_of("pythia", Group(1000, 16, 128))
    assert "," not in submitted_jobs.name_of("", Group(*range(400)))
    assert len(submitted_jobs.name_of("pythia", Group(*range(400)))) < 150


def test_a_key_is_the_work_and_not_the_attempt():
    key = submitted_jobs.key_of(Group(1, 2))
    assert key == submitted_jobs.key_of(Group(2, 1))
    assert key != submitted_jobs.key_of(Group(1, 2, 3))
    assert submitted_jobs.key_of(Job(1)) == submitted_jobs.key_of(Job(1, attempt=2, resources={"mem_mb": 2000}))
    assert submitted_jobs.key_of(Job(1)) != submitted_jobs.key_of(Job(1, params="tasks=[sciq]"))


def test_notes_are_read_back_and_one_that_was_cut_short_is_passed_over(tmp_path):
    note = Note("pythia_a_1", "key", ["out"], "logs/%j.log")
    note.write(tmp_path / "notes")
    (tmp_path / "notes" / "pythia_b_2").write_text('{"name": "pyth')
    (tmp_path / "notes" / "pythia_c_3").write_text('{"surprise": 1}')
    assert submitted_jobs.read_notes(tmp_path / "notes") == {"pythia_a_1": note}
    note.remove(tmp_path / "notes")
    note.remove(tmp_path / "notes")
    assert submitted_jobs.read_notes(tmp_path / "notes") == {}
    assert submitted_jobs.read_notes(tmp_path / "nowhere") == {}


def test_of_a_group_the_parts_are_told_apart_by_outputs_and_logs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("out1", "log1", "log2", "out4", "log4"):
        (tmp_path / name).touch()
    for name in ("out4", "log4"):  # of an earlier job
        os.utime(tmp_path / name, (1, 1))
    now = (tmp_path / "out1").stat().st_mtime
    progress = submitted_jobs.progress_of(Group(1, 2, 3, 4), now)
    steps = [[part.step for part in parts] for parts in (progress.finished, progress.broken, progress.waiting)]
    assert steps == [[1], [2], [3, 4]]
    alone = submitted_jobs.progress_of(Job(3), now)
    assert [part.step for part in alone.broken] == [3]


def test_the_next_attempt_is_told_with_its_request():
    class Growing(Job):
        @property
        def resources(self):
            return {"mem_mb": 1000 * self.attempt, "runtime": 60 * self.attempt, "gpu": 1, "tmpdir": "x"}

        @resources.setter
        def resources(self, value):
            pass

    job = Growing(1)
    assert submitted_jobs.next_attempt(job) == "attempt 2 of 3 will request 2,000 MB, 120 min, 1 GPU"
    assert job.attempt == 1
    job.attempt = 3
    assert submitted_jobs.next_attempt(job) == "no attempt is left"


@pytest.mark.parametrize(
    ("line", "ran_out"),
    [
        ("slurmstepd-vm: error: StepId=1.0 exceeded memory limit (700641280 > 629145600), being killed", True),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.0", True),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=1.batch. Some of the step tasks have been", True),
        ("srun: error: vm: task 0: Out Of Memory", True),
        ("srun: error: vm: task 0: Killed", False),
        ("the report exceeded memory limit of nobody", False),
    ],
)
def test_a_log_that_tells_of_memory(tmp_path, line, ran_out):
    (tmp_path / "1.log").write_text(f"start\n{line}\n")
    assert submitted_jobs.ran_out_of_memory(tmp_path / "1.log") is ran_out
    assert not submitted_jobs.ran_out_of_memory(tmp_path / "none.log")
