"""The lines about an outage and about a queue in which nothing moves: said once, and again after a while."""

from workflow_scripts.workflow.cluster.outage import Outage, Quiet
from workflow_scripts.workflow.cluster.slurm_answers import QueuedJob


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_an_outage_is_said_at_its_start_every_ten_minutes_and_at_its_end():
    said, clock = [], Clock()
    outage = Outage(said.append, clock)
    outage.over()
    for _ in range(13):  # twelve minutes
        outage.note("connect failure", 5)
        clock.now += 60
    outage.over()
    outage.over()
    assert said == [
        "Slurm has not answered (connect failure): 5 submitted jobs continue without it, submissions wait; "
        "asking again every 30 s",
        "Slurm has not answered for 10 min 0 s (connect failure): 5 submitted jobs continue without it, submissions "
        "wait; asking again every 30 s",
        "Slurm answers again, after 13 min 0 s",
    ]


def jobs(*states):
    return {str(number): QueuedJob(str(number), state, "Resources") for number, state in enumerate(states)}


def test_a_queue_that_does_not_move_is_explained_after_ten_minutes_and_then_hourly():
    said, clock = [], Clock()
    quiet = Quiet(said.append, clock)
    for _ in range(75):
        quiet.look(jobs("PENDING", "PENDING"), lambda: "n1 (drained: disk)")
        clock.now += 60
    assert said == [
        f"no job has started or ended for {time}: 2 are pending (2 for Resources); out of service: n1 (drained: disk)"
        for time in ("10 min 0 s", "1 h 10 min")
    ]


def test_a_running_job_or_one_that_ends_keeps_it_silent():
    said, clock = [], Clock()
    quiet = Quiet(said.append, clock)
    for _ in range(60):
        quiet.look(jobs("PENDING", "RUNNING"), str)
        clock.now += 60
    for turn in range(60):
        quiet.look(jobs(*["PENDING"] * (60 - turn)), str)
        clock.now += 60
    assert said == []
