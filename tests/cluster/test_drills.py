"""What goes wrong on a cluster: nothing half-written is left, and the same command goes on."""

import re
import time

import pytest

QUICK = ("--slurm-init-seconds-before-status-checks", "2")
START = """
configfile: "config/config.yaml"
include: "rules/common.smk"
"""
TROUBLE = (
    START
    + """
rule all:
    default_target: True
    input: "memory.txt", "cancelled.txt", "late.txt", "fails.txt"

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

# Takes longer than the minute of the first attempt.
rule late:
    output: "late.txt"
    resources: runtime=lasts(1)
    shell: "echo {resources.runtime} >> late.attempts; echo half > {output};"
           " [ $(wc -l < late.attempts) -gt 1 ] || sleep 300; echo whole > {output}"

rule fails:
    output: "fails.txt"
    log: "fails.log"
    resources: mem_mb=grows(500)
    shell: "echo {resources.mem_mb} >> fails.attempts; echo half > {output};"
           " echo 'error: what went wrong' > {log}; [ -e mended ]; echo whole > {output}"
"""
)
PARTS = (
    START
    + """
rule all:
    default_target: True
    input: expand("part-{model}-{step}.txt", model="pocket-90k", step=range(3))

# One after another in one allocation; the second fails, so the third never starts.
rule part:
    output: "part-{model}-{step}.txt"
    log: "part-{model}-{step}.log"
    group: "parts"
    resources: mem_mb=grows(500), order=1
    priority: lambda wildcards: 10 - int(wildcards.step)
    shell: "echo 'error: step {wildcards.step}' > {log}; [ {wildcards.step} != 1 ]; echo whole > {output}"
"""
)
KILLED = (
    START
    + """
rule all:
    default_target: True
    input: "done.txt"

rule work:
    output: "done.txt"
    shell: "echo start >> events.txt; sleep $(cat seconds.txt); echo whole > {output}; echo end >> events.txt"
"""
)


def wait_for(ready, seconds=600):
    """Wait until ``ready()`` is true."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


def running(slurm, place, rule):
    """Number of the running Slurm job of a rule."""
    lines = slurm.ask("squeue", "-h", "-t", "RUNNING", "-o", "%A|%k|%Z").splitlines()
    return [line.split("|")[0] for line in lines if f"rule_{rule}" in line and line.endswith(str(place))]


def blocks(output, rule):
    """What was printed about each failure of a rule: its headline and the indented lines below."""
    return re.findall(rf"^FAILED {rule}\n(?:[ \t].*\n)*", output, re.MULTILINE)


@pytest.mark.slow
def test_memory_time_cancelling_and_failure_are_retried_and_reported(place, slurm, start_snakemake, snakefile):
    snakefile(TROUBLE)
    process = start_snakemake("--retries", "1", *QUICK)
    wait_for(lambda: (place / "cancelled.attempts").exists() and running(slurm, place, "cancelled"))
    slurm.ask("scancel", *running(slurm, place, "cancelled"))
    output, _ = process.communicate(timeout=900)
    print(output)

    assert process.returncode == 1
    for name in ("memory.txt", "cancelled.txt", "late.txt"):
        assert (place / name).read_text() == "whole\n", name
    assert (place / "memory.attempts").read_text().split() == ["600", "1200"]
    assert (place / "fails.attempts").read_text().split() == ["500", "1000"]
    assert (place / "late.attempts").read_text().split() == ["1", "2"]
    assert (place / "cancelled.attempts").read_text().split() == ["0", "0"], "the fake GPU is visible to the job"
    assert not (place / "fails.txt").exists(), "nothing half-written is left"
    granted = slurm.ask("squeue", "--states", "all", "-h", "-o", "%m").split()
    assert {"600M", "1200M", "500M", "1000M"} <= {text.replace("G", "000M") for text in granted}, granted
    states = slurm.ask("squeue", "--states", "all", "-h", "-o", "%T").split()
    assert {"CANCELLED", "TIMEOUT", "FAILED", "COMPLETED"} <= set(states), states
    reported = blocks(output, "fails")
    assert len(reported) == 2, "one block for each attempt"
    for block in reported:
        assert "  error: what went wrong\n" in block
        assert "  full log: fails.log\n" in block
        assert len(block.splitlines()) < 12
    for rule, state in (("cancelled", "CANCELLED"), ("late", "TIMEOUT"), ("memory", "OUT_OF_MEMORY")):
        (block,) = blocks(output, rule)
        assert f"  {state}, Slurm job " in block
        assert "; attempt 1 of 2\n  attempt 2 of 2 will request " in block
    assert "attempt 2 of 2 will request 4,000 MB, 2 min\n" in blocks(output, "late")[0], blocks(output, "late")
    assert "; attempt 2 of 2\n  no attempt is left\n" in reported[1]
    assert (place / "fails.log").read_text() == "error: what went wrong\n"

    (place / "mended").write_text("")
    again = start_snakemake(*QUICK)
    output, _ = again.communicate(timeout=900)
    assert again.returncode == 0, output[-3000:]
    assert (place / "fails.txt").read_text() == "whole\n"
    assert len((place / "late.attempts").read_text().split()) == 2, "what was finished is not made again"


@pytest.mark.slow
def test_of_a_failed_allocation_only_the_part_that_failed_is_named(place, slurm, start_snakemake, snakefile):
    snakefile(PARTS)
    process = start_snakemake("--retries", "0", "--group-components", "parts=3", *QUICK)
    output, _ = process.communicate(timeout=300)
    print(output)
    assert process.returncode == 1
    (block,) = re.findall(r"^FAILED .*\n(?:[ \t].*\n)*", output, re.MULTILINE)
    headline, state, request, others, error, *logs = block.splitlines()
    assert headline == "FAILED part model=pocket-90k step=1"
    assert re.fullmatch(r"  FAILED, Slurm job \d+ on \S+; attempt 1 of 1", state)
    assert [request, others, error] == [
        "  no attempt is left",
        "  of the 3 in this allocation: 1 finished, 1 not started",
        "  error: step 1",
    ]
    assert logs[0] == "  full log: part-pocket-90k-1.log"
    assert "/results/logs/slurm/group_" in logs[1]
    assert len(logs) == 2


@pytest.mark.slow
def test_a_second_run_names_the_first_and_a_killed_one_leaves_no_second_writer(
    place, slurm, start_snakemake, snakefile
):
    snakefile(KILLED)
    (place / "seconds.txt").write_text("300")
    first = start_snakemake(*QUICK)
    wait_for((place / "events.txt").exists)
    second = start_snakemake(*QUICK)
    output, _ = second.communicate(timeout=900)
    assert second.returncode == 2
    assert f"a run is active here (process {first.pid} on " in output

    first.kill()
    first.wait()
    assert running(slurm, place, "work"), "the job outlives the killed run"
    third = start_snakemake(*QUICK)
    output, _ = third.communicate(timeout=900)
    assert third.returncode == 2
    assert f"a run was killed here (process {first.pid} on " in output
    assert "make unlock" in output
    assert (place / "events.txt").read_text().split() == ["start"]

    unlocked = start_snakemake(program=("workflow_scripts.workflow.tools.unlock",))
    output, _ = unlocked.communicate(timeout=900)
    assert "1 Slurm jobs of the killed run were cancelled" in output
    assert not running(slurm, place, "work")

    (place / "seconds.txt").write_text("0")
    last = start_snakemake(*QUICK)
    output, _ = last.communicate(timeout=900)
    assert last.returncode == 0, output[-3000:]
    assert (place / "done.txt").read_text() == "whole\n"
    assert (place / "events.txt").read_text().split() == ["start", "start", "end"]
