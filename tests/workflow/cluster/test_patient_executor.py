"""What the executor makes of Slurm's answers, on paper; tests/cluster has the same on a real Slurm."""

import asyncio
import itertools
import threading
import types

import pytest
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from workflow_scripts.workflow.cluster import patient_executor, slurm_answers
from workflow_scripts.workflow.cluster.outage import Outage
from workflow_scripts.workflow.cluster.patient_executor import GRACE_SECONDS, Leaving, PatientExecutor
from workflow_scripts.workflow.cluster.slurm_answers import QueuedJob
from workflow_scripts.workflow.cluster.submitted_jobs import Note

AWAY = "Unable to contact slurm controller (connect failure)"


class Paper(PatientExecutor):
    """Without threads and without Slurm."""

    def __init__(self):
        self.said, self.outcomes, self.asked = [], [], []
        self.leaving, self.doubtful, self.submitted = threading.Event(), {}, {}
        self.outage = Outage(self.said.append)
        self._failed_nodes = set()
        settings = types.SimpleNamespace(keep_successful_logs=False)
        self.workflow = types.SimpleNamespace(executor_settings=settings)
        self.plugin = types.SimpleNamespace(validate_or_get_slurm_job_id=lambda number, text: number)
        self.unfinished = []

    def report_job_success(self, info):
        self.outcomes.append("success")

    def report_job_error(self, info, msg=None, **kwargs):
        self.outcomes.append(msg)

    @property
    def persistence(self):
        async def incomplete(job):
            return self.unfinished

        return types.SimpleNamespace(incomplete=incomplete)

    def run_job(self, job):
        raise NotImplementedError


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(patient_executor.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def executor(monkeypatch, tmp_path, clock):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(patient_executor, "PAUSES", (0.0,))
    made = Paper()
    monkeypatch.setattr(slurm_answers, "ask", lambda command, *rest, **more: made.asked.append(command) or ("", ""))
    return made


def has_ended(executor, state, nodes="n1"):
    job = types.SimpleNamespace(is_group=lambda: False, output=["out.txt"])
    note = Note("pythia_work_1", "key", ["out.txt"], "%j.log")
    info = SubmittedJobInfo(job, "7", {"slurm_logfile": patient_executor.Path("7.log"), "note": note})
    executor.submitted.setdefault("7", info)
    queued = QueuedJob("7", state, nodes=nodes) if state else None
    return asyncio.run(executor.has_ended(info, queued))


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "REQUEUED"])
def test_a_live_job_is_waited_for(executor, state):
    assert not has_ended(executor, state)
    assert executor.outcomes == []


@pytest.mark.parametrize("state", ["CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"])
def test_a_failure_names_state_number_and_node(executor, state):
    assert has_ended(executor, state)
    assert executor.outcomes == [f"{state}, Slurm job 7 on n1"]
    assert executor.submitted == {}


def test_a_program_that_was_killed_for_its_memory_is_no_plain_failure(executor, tmp_path):
    (tmp_path / "7.log").write_text("slurmstepd: error: Exceeded job memory limit\n")
    assert has_ended(executor, "FAILED")
    assert executor.outcomes == ["OUT_OF_MEMORY, Slurm job 7 on n1"]


def test_a_finished_job_leaves_neither_log_nor_note(executor, tmp_path):
    (tmp_path / "7.log").touch()
    assert has_ended(executor, "COMPLETED")
    assert executor.outcomes == ["success"]
    assert not (tmp_path / "7.log").exists()


@pytest.mark.parametrize("state", ["NODE_FAIL", "PREEMPTED"])
def test_what_slurm_may_put_back_is_waited_for_and_then_cancelled(executor, clock, state):
    assert not has_ended(executor, state)
    assert not has_ended(executor, "PENDING")
    clock[0] += GRACE_SECONDS
    assert not has_ended(executor, state), "the time counts anew"
    clock[0] += GRACE_SECONDS
    assert has_ended(executor, state)
    assert executor.asked == [["scancel", "7"]], "no second writer"
    assert executor.outcomes == [f"{state}, Slurm job 7 on n1"]
    assert executor._failed_nodes == ({"n1"} if state == "NODE_FAIL" else set())


@pytest.mark.parametrize(("exists", "unfinished"), [(True, []), (True, ["out.txt"]), (False, [])])
def test_a_job_that_slurm_forgot_is_judged_by_its_outputs(executor, clock, tmp_path, exists, unfinished):
    if exists:
        (tmp_path / "out.txt").touch()
    executor.unfinished = unfinished
    assert not has_ended(executor, "")
    clock[0] += GRACE_SECONDS
    assert has_ended(executor, "")
    whole = exists and not unfinished
    assert executor.outcomes == ["success" if whole else "unknown to Slurm, Slurm job 7"]


def test_a_question_is_repeated_while_slurm_is_away_and_a_refusal_is_not(executor):
    answers = [("", AWAY), ("", AWAY), ("yes", "")]
    assert executor.patiently(lambda: answers.pop(0)) == "yes"
    assert [line.split(" (")[0].split(",")[0] for line in executor.said] == [
        "Slurm has not answered",
        "Slurm answers again",
    ]
    with pytest.raises(WorkflowError, match="invalid partition"):
        executor.patiently(lambda: ("", "invalid partition specified: x"))
    executor.leaving.set()
    with pytest.raises(Leaving):
        executor.patiently(lambda: ("", AWAY))


def submit(executor):
    tries = itertools.count()
    return executor.patiently(lambda: executor.sbatch(["sbatch"], "#!/bin/sh\n", "name", again=next(tries) > 0))


def test_a_submission_whose_answer_was_lost_is_found_by_its_name(executor, monkeypatch):
    """The controller takes the job, and goes away before it answers; then it comes back."""
    taken, replies = {}, [("", "Socket timed out on send/recv operation")]

    def ask(command, *rest, **more):
        executor.asked.append(command[0])
        executor.outage.over()  # as another thread would see it
        if command[0] == "sbatch":
            taken["12"] = "name"
            return replies.pop(0)
        return (f"12|RUNNING|None|n1|{command[-1]}|/x\n", "") if taken else ("", "")

    monkeypatch.setattr(slurm_answers, "ask", ask)
    assert submit(executor) == "12"
    assert executor.asked == ["sbatch", "squeue"]


def test_a_submission_that_never_arrived_is_repeated_once_slurm_is_back(executor, monkeypatch):
    replies = [("", AWAY), ("", AWAY), ("", ""), ("13\n", "")]
    asked = executor.asked
    monkeypatch.setattr(slurm_answers, "ask", lambda command, *rest, **more: asked.append(command[0]) or replies.pop(0))
    assert submit(executor) == "13"
    assert asked == ["sbatch", "squeue", "squeue", "sbatch"]
