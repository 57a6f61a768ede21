"""Snakemake as a job of the cluster: near its limit it goes back into the queue, and goes on with the jobs it left."""

import pytest

from tests.cluster.test_drills import START, wait_for
from tests.cluster.test_outages import events, names

LONG = (
    START
    + """
rule all:
    default_target: True
    input: expand("work-{number}.txt", number=range(2)), "more.txt"

rule work:
    output: "work-{number}.txt"
    shell: "echo start >> work-{wildcards.number}.events;"
           " while [ ! -e go.txt ]; do sleep 0.2; done; echo whole > {output}"

rule more:
    input: "work-0.txt"
    output: "more.txt"
    shell: "echo start >> more.events; echo whole > {output}"
"""
)


@pytest.mark.drill
def test_a_head_that_reaches_its_limit_goes_on_in_its_next_turn(root, place, slurm, start_program, snakefile):
    snakefile(LONG)
    # Slurm may send the signal up to a minute early.
    limits = ("--time=3", "--signal=B:USR1@60", "--mem=1000", "--parsable")
    head = start_program("sbatch", *limits, str(root / "profiles/slurm/head.sbatch"), "--slurm-status-attempts", "1")
    number = head.communicate(timeout=60)[0].strip()
    log = place / f"pythia-head-{number}.log"
    wait_for(lambda: len(events(place)) == 2)
    wait_for(lambda: log.read_text().count("head: start of job") == 2, 600)
    assert events(place) == {"work-0": 1, "work-1": 1}
    wait_for(lambda: "\n2 Slurm jobs of an earlier run are live" in log.read_text(), 120)
    (place / "go.txt").write_text("")
    wait_for(lambda: slurm.ask("squeue", "--states=all", "-h", "-j", number, "-o", "%T").strip() == "COMPLETED", 170)
    said = log.read_text()
    print(said)
    assert "terminated; 2 Slurm jobs continue, and the same command adopts them" in said
    assert events(place) == {"work-0": 1, "work-1": 1, "more": 1}
    ours = [name for name in names(slurm, place) if name.startswith("pythia_")]
    assert len(ours) == 3, "nothing is submitted twice"
