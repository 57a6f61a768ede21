"""What goes wrong on a cluster: nothing half-written is left, and the same command goes on."""

import time

import pytest

QUICK = ("--slurm-init-seconds-before-status-checks", "2")
TROUBLE = """
from workflow_scripts.suite.resources import grows

onstart:
    shell("echo started >> starts.txt")

rule all:
    input: "memory.txt", "cancelled.txt", "fails.txt"

# Takes 700 MB; the first attempt is granted less. Snakemake itself takes up to 200 MB of what a job is granted.
rule memory:
    output: "memory.txt"
    resources: mem_mb=grows(600)
    shell: "echo {resources.mem_mb} >> memory.attempts; echo half > {output};"
           " python -c 'import time; block = bytearray(700_000_000); time.sleep(6)'; echo whole > {output}"

rule cancelled:
    output: "cancelled.txt"
    resources: gpu=1
    shell: "echo half > {output}; echo $CUDA_VISIBLE_DEVICES >> cancelled.attempts;"
           " [ $(wc -l < cancelled.attempts) -gt 1 ] || sleep 300; echo whole > {output}"

rule fails:
    output: "fails.txt"
    log: "fails.log"
    resources: mem_mb=grows(500)
    shell: "echo {resources.mem_mb} >> fails.attempts; echo half > {output};"
           " echo 'error: what went wrong' > {log}; exit 1"
"""
KILLED = """
rule all:
    input: "done.txt"

rule work:
    output: "done.txt"
    shell: "echo start >> events.txt; sleep $(cat seconds.txt); echo whole > {output}; echo end >> events.txt"
"""


def wait_for(ready, seconds=240):
    """Wait until ``ready()`` is true."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


def running(slurm, place, rule):
    """Number of the running Slurm job of a rule."""
    lines = slurm.ask("squeue", "-h", "-t", "RUNNING", "-o", "%A|%k|%Z").splitlines()
    return [line.split("|")[0] for line in lines if f"rule_{rule}" in line and line.endswith(str(place))]


@pytest.fixture
def snakefile(place):
    """Function that writes the Snakefile of a drill."""

    def write(text):
        (place / "Snakefile").unlink()
        (place / "Snakefile").write_text(text)

    return write


@pytest.mark.slow
def test_memory_cancelling_and_failure_are_retried_and_reported(place, slurm, start_snakemake, snakefile):
    snakefile(TROUBLE)
    process = start_snakemake("--retries", "1", *QUICK)
    wait_for(lambda: (place / "cancelled.attempts").exists() and running(slurm, place, "cancelled"))
    slurm.ask("scancel", *running(slurm, place, "cancelled"))
    output, _ = process.communicate(timeout=300)

    assert process.returncode == 1
    assert (place / "memory.txt").read_text() == (place / "cancelled.txt").read_text() == "whole\n"
    assert (place / "memory.attempts").read_text().split() == ["600", "1200"]
    assert (place / "fails.attempts").read_text().split() == ["500", "1000"]
    assert (place / "cancelled.attempts").read_text().split() == ["0", "0"], "the fake GPU is visible to the job"
    assert not (place / "fails.txt").exists(), "nothing half-written is left"
    granted = slurm.ask("squeue", "--states", "all", "-h", "-o", "%m").split()
    assert {"600M", "1200M", "500M", "1000M"} <= {text.replace("G", "000M") for text in granted}, granted
    assert "fails.log" in output
    assert "error: what went wrong" in output


@pytest.mark.slow
def test_a_killed_run_leaves_no_second_writer(place, slurm, start_snakemake, snakefile):
    snakefile(KILLED)
    (place / "seconds.txt").write_text("300")
    first = start_snakemake(*QUICK)
    wait_for((place / "events.txt").exists)
    first.kill()
    first.wait()
    assert running(slurm, place, "work"), "the job outlives the killed run"

    second = start_snakemake(*QUICK)
    output, _ = second.communicate(timeout=300)
    assert second.returncode != 0
    assert "lock" in output.lower()
    assert (place / "events.txt").read_text().split() == ["start"]

    unlocked = start_snakemake(program=("workflow_scripts.suite.unlock",))
    output, _ = unlocked.communicate(timeout=300)
    assert "1 Slurm jobs of the killed run were ended" in output
    assert not running(slurm, place, "work")

    (place / "seconds.txt").write_text("0")
    third = start_snakemake(*QUICK)
    output, _ = third.communicate(timeout=300)
    assert third.returncode == 0, output[-3000:]
    assert (place / "done.txt").read_text() == "whole\n"
    assert (place / "events.txt").read_text().split() == ["start", "start", "end"]
