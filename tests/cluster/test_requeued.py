"""Jobs that Slurm puts back into the queue: by hand, because a node fails, because another job has precedence."""

import pytest

from tests.cluster.test_drills import QUICK, START, running, wait_for
from tests.cluster.test_outages import events, names

ONCE = (
    START
    + """
rule all:
    default_target: True
    input: "work.txt"

rule work:
    output: "work.txt"
    threads: 8
    shell: "echo start >> work.events; [ $(wc -l < work.events) -gt 1 ] || sleep 900; echo whole > {output}"
"""
)
PRECEDENCE = """
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL PriorityTier=10 MaxTime=10 DefaultTime=10 State=UP
"""


def by_hand(slurm, number):
    slurm.ask("scontrol", "requeue", number)


def by_a_failing_node(slurm, number):
    node = slurm.ask("squeue", "-h", "-j", number, "-o", "%N").strip()
    slurm.end(slurm.folder / "slurmd.pid")
    slurm.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=drill")
    wait_for(lambda: slurm.ask("squeue", "-h", "-j", number, "-o", "%T").strip() == "PENDING")
    slurm.daemon("slurmd", "-f", str(slurm.conf))
    slurm.ask("scontrol", "update", f"nodename={node}", "state=resume")


def by_precedence(slurm, number):
    urgent = slurm.ask("sbatch", "--parsable", "-p", "urgent", "-c", "8", "--mem=100", "--wrap", "sleep 5").strip()
    wait_for(lambda: slurm.ask("squeue", "-h", "-j", urgent, "-o", "%T").strip() == "RUNNING")


@pytest.mark.drill
@pytest.mark.parametrize("way", [by_hand, by_a_failing_node, by_precedence])
def test_a_job_that_goes_back_into_the_queue_is_no_failure(place, slurm, start_snakemake, snakefile, way):
    if way is by_precedence:
        slurm.stop_controller()
        with slurm.conf.open("a") as configuration:
            configuration.write(PRECEDENCE)
        slurm.start_controller()
    snakefile(ONCE)
    process = start_snakemake(*QUICK)
    wait_for(lambda: events(place) and running(slurm, place, "work"))
    way(slurm, running(slurm, place, "work")[0])
    output, _ = process.communicate(timeout=500)
    print(output)
    assert process.returncode == 0, output
    assert "FAILED" not in output
    assert events(place) == {"work": 2}
    assert len([name for name in names(slurm, place) if name.startswith("pythia_")]) == 1
