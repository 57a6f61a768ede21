"""The controller is away, or Snakemake is: nothing is lost, nothing fails, nothing runs twice, and a line says so."""

import signal
import time

import pytest

from tests.cluster import slurm_accounting
from tests.cluster.test_drills import QUICK, START, running, wait_for

# With the controller away is the harder half, so the other one is left to the drills.
ANSWERS = (pytest.param(False, id="away"), pytest.param(True, id="present", marks=pytest.mark.drill))
AWAY = (
    START
    + """
rule all:
    default_target: True
    input: expand("work-{number}.txt", number=range(3)), "cancelled.txt", "after.txt"

# Three that run when the controller goes away, and end meanwhile.
rule work:
    output: "work-{number}.txt"
    shell: "echo start >> work-{wildcards.number}.events; sleep $(cat seconds.txt); echo whole > {output}"

rule cancelled:
    output: "cancelled.txt"
    shell: "echo start >> cancelled.events; [ $(wc -l < cancelled.events) -gt 1 ] || sleep 900; echo whole > {output}"

# Ends while the controller is away, so that the next job is submitted then.
rule here:
    output: "here.txt"
    localrule: True
    shell: "while [ ! -e away.txt ]; do sleep 0.2; done; echo whole > {output}"

rule after:
    input: "here.txt"
    output: "after.txt"
    shell: "echo start >> after.events; echo whole > {output}"
"""
)
LEFT = (
    START
    + """
rule all:
    default_target: True
    input: expand("work-{number}.txt", number=range(4)), "more.txt"

rule work:
    output: "work-{number}.txt"
    group: "works"
    shell: "echo start >> work-{wildcards.number}.events;"
           " while [ ! -e go.txt ]; do sleep 0.2; done; echo whole > {output}"

rule more:
    input: "work-0.txt"
    output: "more.txt"
    shell: "echo start >> more.events; echo whole > {output}"
"""
)


def events(place):
    """How often each job was started."""
    return {path.stem: len(path.read_text().split()) for path in place.glob("*.events")}


def names(slurm, place):
    """Names of all jobs that were submitted from a folder."""
    lines = slurm.ask("squeue", "--states", "all", "-h", "-o", "%j|%Z").splitlines()
    return [line.split("|")[0] for line in lines if line.endswith(str(place))]


@pytest.fixture
def accounting(slurm):
    """A database and slurmdbd, which the controller uses."""
    if reason := slurm_accounting.reason_to_skip():
        pytest.skip(reason)
    accounting = slurm_accounting.Accounting(slurm)
    try:
        accounting.start()
        yield accounting
    finally:
        accounting.stop()


def away_for(seconds, place, slurm, start_snakemake, accounting=None):
    """A run during which the controller, and accounting if there is one, is away for some seconds."""
    (place / "seconds.txt").write_text(str(max(seconds / 2, 5)))
    process = start_snakemake(*QUICK)
    wait_for(lambda: set(events(place)) == {"work-0", "work-1", "work-2", "cancelled"})
    time.sleep(5)
    slurm.stop_controller()
    if accounting:
        accounting.stop_daemon()
    (place / "away.txt").write_text("")
    time.sleep(seconds)
    assert process.poll() is None
    if accounting:
        accounting.start_daemon()
    slurm.start_controller()
    cancelled = running(slurm, place, "cancelled")
    slurm.ask("scancel", *cancelled)
    back = time.monotonic()
    wait_for(lambda: events(place)["cancelled"] == 2, 120)
    print(f"the cancelled job was noticed and started again within {time.monotonic() - back:.0f} s")
    output, _ = process.communicate(timeout=600)
    print(output)
    assert process.returncode == 0, output[-4000:]
    assert events(place) == {"work-0": 1, "work-1": 1, "work-2": 1, "cancelled": 2, "after": 1}
    assert len(names(slurm, place)) == 6, "nothing is submitted twice"
    assert all((place / f"{name}.txt").read_text() == "whole\n" for name in events(place))
    assert output.count("Slurm has not answered") == 1, output
    assert output.count("Slurm answers again") == 1, output
    assert output.count("FAILED") == 1, output
    assert "FAILED cancelled\n  CANCELLED, Slurm job " in output
    assert "attempt 1 of 3\n  attempt 2 of 3 will request " in output


@pytest.mark.slow
def test_a_short_outage_is_outlived(place, slurm, start_snakemake, snakefile):
    snakefile(AWAY)
    away_for(15, place, slurm, start_snakemake)


@pytest.mark.drill
def test_three_minutes_without_a_controller_are_outlived(place, slurm, start_snakemake, snakefile):
    snakefile(AWAY)
    away_for(180, place, slurm, start_snakemake)


@pytest.mark.drill
def test_three_minutes_without_controller_and_accounting_are_outlived(
    place, slurm, accounting, start_snakemake, snakefile
):
    snakefile(AWAY)
    away_for(180, place, slurm, start_snakemake, accounting)
    states = slurm.ask("sacct", "-X", "-n", "-o", "State%20").split()
    assert "CANCELLED" in states, states
    assert states.count("COMPLETED") == 5, states


@pytest.mark.slow
@pytest.mark.parametrize("answers", ANSWERS)
def test_after_a_signal_the_jobs_continue_and_the_next_run_adopts_them(
    place,
    slurm,
    start_snakemake,
    snakefile,
    answers,
):
    snakefile(LEFT)
    grouped = ("--group-components", "works=4")
    process = start_snakemake(*QUICK, *grouped)
    wait_for(lambda: events(place))
    time.sleep(5)
    if not answers:
        slurm.stop_controller()
        time.sleep(12)  # of which a query of the head takes nine to give up
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    print(output)
    assert time.monotonic() - asked < 15, output
    assert process.returncode == 1
    assert "terminated; 1 Slurm jobs continue, and the same command adopts them" in output
    if not answers:
        slurm.start_controller()
    assert running(slurm, place, "") or running(slurm, place, "works") or names(slurm, place)

    again = start_snakemake(*QUICK, *grouped)
    wait_for(lambda: len(names(slurm, place)) == 1 and (place / ".snakemake" / "slurm_jobs").exists())
    time.sleep(8)
    (place / "go.txt").write_text("")
    output, _ = again.communicate(timeout=300)
    print(output)
    assert again.returncode == 0, output[-4000:]
    assert "\n1 Slurm jobs of an earlier run are live" in output
    assert events(place) == {**{f"work-{number}": 1 for number in range(4)}, "more": 1}
    assert len(names(slurm, place)) == 2
    assert any("_work_0+1+2+3_" in name for name in names(slurm, place)), names(slurm, place)
    assert not list((place / ".snakemake" / "slurm_jobs").iterdir())


@pytest.mark.slow
def test_a_changed_job_waits_for_the_one_of_an_earlier_run_that_writes_the_same(
    place,
    slurm,
    start_snakemake,
    snakefile,
):
    snakefile(LEFT)
    process = start_snakemake(*QUICK, "--group-components", "works=4")
    wait_for(lambda: events(place))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    again = start_snakemake(*QUICK, "--group-components", "works=2")
    wait_for(lambda: len(names(slurm, place)) == 3)
    waiting = slurm.ask("squeue", "-h", "-t", "PENDING", "-o", "%r").split()
    assert waiting == ["Dependency", "Dependency"]
    (place / "go.txt").write_text("")
    output, _ = again.communicate(timeout=300)
    print(output)
    assert again.returncode == 0, output[-4000:]
    assert events(place) == {**{f"work-{number}": 2 for number in range(4)}, "more": 1}


@pytest.mark.slow
@pytest.mark.parametrize("answers", ANSWERS)
def test_ctrl_c_cancels_the_jobs_or_says_why_not(place, slurm, start_snakemake, snakefile, answers):
    snakefile(LEFT)
    process = start_snakemake(*QUICK)
    wait_for(lambda: len(events(place)) == 4)
    if not answers:
        slurm.stop_controller()
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=90)
    assert time.monotonic() - asked < 25, output
    assert process.returncode == 1
    assert "cancelling 4 Slurm jobs" in output
    assert ("could not be cancelled" in output) == (not answers)
    if answers:
        wait_for(lambda: not slurm.ask("squeue", "-h", "-o", "%i").split(), 60)
    else:
        slurm.start_controller()
        assert len(running(slurm, place, "") or names(slurm, place)) == 4
