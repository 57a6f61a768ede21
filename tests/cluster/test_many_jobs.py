"""A thousand jobs in the queue: submitted, left, adopted and cancelled without one lost or doubled, in few lines."""

import signal
import time

import pytest

from tests.cluster.test_drills import START, wait_for
from tests.cluster.test_outages import names

JOBS = 1000
MANY = (
    START
    + f"""
rule all:
    default_target: True
    input: expand("slept-{{number}}.txt", number=range({JOBS}))

rule sleep:
    output: "slept-{{number}}.txt"
    log: "slept-{{number}}.log"
    resources: mem_mb=500
    shell: "sleep 600; echo whole > {{output}}"
"""
)


def submitted(slurm, place):
    """Names of the pending and running jobs."""
    return set(names(slurm, place))


@pytest.mark.drill
def test_a_thousand_queued_jobs_are_left_adopted_and_cancelled(place, slurm, start_snakemake, snakefile):
    snakefile(MANY)
    slurm.ask("scontrol", "update", "partitionname=cpu", "state=down")  # all stay in the queue
    wide = ("--jobs", str(JOBS), "--cores", str(JOBS), "--slurm-init-seconds-before-status-checks", "5")
    started = time.monotonic()
    first = start_snakemake(*wide)
    wait_for(lambda: len(names(slurm, place)) == JOBS, 580)
    print(f"{JOBS} jobs submitted in {time.monotonic() - started:.0f} s, planning included")
    time.sleep(15)
    asked = time.monotonic()
    first.send_signal(signal.SIGTERM)
    output, _ = first.communicate(timeout=60)
    print(f"ended {time.monotonic() - asked:.1f} s after SIGTERM; {len(output.splitlines())} lines")
    assert f"terminated; {JOBS} Slurm jobs continue" in output
    assert len(output.splitlines()) < 20, output

    before = submitted(slurm, place)
    again = start_snakemake(*wide)
    notes = place / ".snakemake" / "slurm_jobs"
    time.sleep(30)
    assert again.poll() is None
    asked = time.monotonic()
    again.send_signal(signal.SIGINT)
    output, _ = again.communicate(timeout=200)
    print(f"ended {time.monotonic() - asked:.1f} s after Ctrl-C; {len(output.splitlines())} lines")
    print(output[-600:])
    assert submitted(slurm, place) == before, "nothing is submitted twice"
    assert f"{JOBS} Slurm jobs of an earlier run are live" in output
    assert f"cancelling {JOBS} Slurm jobs" in output
    assert len(output.splitlines()) < 20, output
    wait_for(lambda: not slurm.ask("squeue", "-h", "-o", "%i").split(), 120)
    assert len(list(notes.iterdir())) == JOBS, "the next start looks whether they are gone"
