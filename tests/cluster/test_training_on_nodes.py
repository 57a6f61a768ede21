"""Training over two nodes, and up to a time limit: what the rules ask of Slurm, on two slurmd on one host."""

import dataclasses
import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cluster.slurm_testbed import SlurmTestbed, reason_to_skip
from tests.cluster.test_drills import QUICK, wait_for
from tests.training.training_runs import digest, write_data
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.recipe import recipe_of
from workflow_scripts.training.run.finished_files import WORKING
from workflow_scripts.workflow.requests.cluster_site import read_site

STEPS = (0, 1, 2, 4, 8, 16)
NODES = ("n1", "n2")
SITE = """
partitions:
  cpu: {max_runtime: 1d, max_mem_mb: 64000, max_cpus_per_task: 8}
  gpu: {max_runtime: 1d, max_mem_mb: 64000, max_cpus_per_task: 8, max_gpu: 4, max_nodes: 2}
gpus:
  gpu: {per_node: 2, memory_mb: 80000}
gpu_option: OPTION
cpus_per_gpu: 2
"""
# The resources are those of rules/training.smk for a model that the run trains on GPUS GPUs; the program trains a tiny
# one on the processors that come with them, because the GPUs of this Slurm are null devices.
TRAIN = """
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.resources import JobResources
from pathlib import Path

CHOSEN = {"suite": "pythia", "models": ["pythia-70m"], "steps": "last", "tasks": [], "device": "cuda"}
RUN = load_run({**load_yaml(Path("config/config.yaml")), **CHOSEN, "training": {"gpus": GPUS}})
RESOURCES = JobResources(RUN, {})

rule all:
    default_target: True
    input: "pythia-70m/run.json"

rule train_model:
    input: recipe="recipe.json", view="view.json"
    output: "{model}/run.json"
    log: "{model}.log"
    resources:
        mem_mb=RESOURCES.memory("retrain"),
        runtime=RUNTIME,
        **RESOURCES.training_devices(["pythia-70m"])
    shell:
        "exec python -m workflow_scripts.training.launch --processes {resources.processes:q}"
        " --nodes {resources.nodes:q} --recompute-activations {resources.recompute:q} -- --recipe {input.recipe:q}"
        " --view {input.view:q} --output-dir {wildcards.model} --micro-batch 2 --parallel fsdp >> {log:q} 2>&1"
"""


class TwoNodes(SlurmTestbed):
    """Two slurmd on this host, each with processors, memory and GPUs of its own."""

    def write_files(self):
        super().write_files()
        host = socket.gethostname().split(".")[0]
        first = 30_000 + os.getpid() % 20_000
        text = self.conf.read_text().replace(f"Nodes={host}", "Nodes=n[1-2]")
        node = f"NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{first + 1}]"
        text = text.replace(f"NodeName={host} NodeAddr=127.0.0.1", node)
        for name in ("slurmd.pid", "slurmd.log", "spool"):
            text = text.replace(f"/{name}\n", f"/{name}.%n\n")
        self.conf.write_text(text)
        gres = self.folder / "gres.conf"
        gres.write_text(gres.read_text().replace(f"NodeName={host}", "NodeName=n[1-2]"))

    def daemon(self, *command):
        if command[0] != "slurmd":
            super().daemon(*command)
            return
        for node in NODES:
            super().daemon("slurmd", "-N", node, *command[1:])

    def stop(self):
        self.ask("scancel", "--user", "root")
        for node in NODES:
            self.end(self.folder / f"slurmd.pid.{node}")
        super().stop()


@pytest.fixture
def slurm(plugin_folder):
    if reason := reason_to_skip():
        pytest.skip(reason)
    testbed = TwoNodes(Path(tempfile.mkdtemp(prefix="slurm-")))
    with (Path(tempfile.gettempdir()) / "slurm-testbed.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        try:
            testbed.start()
            wait_for(lambda: testbed.ask("sinfo", "-h", "-N", "-p", "gpu", "-o", "%T").split() == ["idle", "idle"], 60)
            yield testbed
        finally:
            testbed.stop()


@pytest.fixture
def prepare(root, place):
    """Function that writes a data set, a recipe of so many steps, a site and a Snakefile into the working directory."""
    sizes = {"layers": 2, "hidden_size": 32, "heads": 4, "vocab_size": 96, "sequence_length": 16, "batch_rows": 8}
    base = recipe_of(load_suite("pocket").model("pocket-90k"))

    def write(steps, option, gpus, runtime):
        numbers = {"train_iterations": steps[-1], "lr_decay_iterations": steps[-1], "checkpoint_steps": steps}
        recipe = dataclasses.replace(base, name="tiny", **sizes, **numbers)
        write_data(place)
        (place / "recipe.json").write_text(json.dumps(recipe.to_json()))
        (place / "profiles").unlink()
        (place / "profiles" / "slurm").mkdir(parents=True)
        profile = (root / "profiles" / "slurm" / "profile.v9+.yaml").read_text()
        (place / "profiles" / "slurm" / "profile.v9+.yaml").write_text(profile)
        (place / "profiles" / "slurm" / "site.yaml").write_text(SITE.replace("OPTION", option))
        (place / "Snakefile").unlink()
        (place / "Snakefile").write_text(TRAIN.replace("GPUS", str(gpus)).replace("RUNTIME", str(runtime)))

    return write


def told(process, place):
    """What Snakemake and the program of its job said."""
    log = place / "pythia-70m.log"
    return process.stdout.read()[-3000:] + (log.read_text()[-3000:] if log.is_file() else "")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["gpus", "gres"])
def test_two_nodes_of_two_processes_train_to_the_bits_of_one_node(slurm, place, prepare, start_snakemake, option):
    prepare(STEPS, option, gpus=4, runtime=30)
    process = start_snakemake(*QUICK, program=("snakemake", "--workflow-profile", "profiles/slurm"))
    wait_for(lambda: process.poll() is not None, 400)
    assert process.returncode == 0, told(process, place)
    seen = slurm.ask("squeue", "--states", "all", "-h", "-o", "%T %D %N").split()
    assert seen == ["COMPLETED", "2", "n[1-2]"]

    alone = place / "alone"
    command = [sys.executable, "-m", "workflow_scripts.training.launch", "--processes", "4", "--", "--parallel", "fsdp"]
    command += ["--recipe", "recipe.json", "--view", "view.json", "--output-dir", "alone", "--micro-batch", "2"]
    environment = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, cwd=place, env=environment, capture_output=True, timeout=400)
    assert [digest(place / "pythia-70m", step) for step in STEPS] == [digest(alone, step) for step in STEPS]


def test_the_site_is_written_from_the_cluster_and_what_has_no_place_is_not_submitted(
    root, slurm, place, start_snakemake
):
    """By the whole graph: every rule of the default run whose jobs ask for more than 600 MB is named."""
    (place / "profiles").unlink()
    shutil.copytree(root / "profiles", place / "profiles")
    site = place / "profiles" / "slurm" / "site.yaml"
    command = [sys.executable, "-m", "workflow_scripts.workflow.tools.write_site", "--output", str(site)]
    environment = {**slurm.environment, "PYTHONPATH": str(root)}
    subprocess.run(command, check=True, cwd=place, env=environment, timeout=100)
    cpu, gpu = read_site(site).partitions
    assert (cpu.name, cpu.minutes, cpu.memory_mb, cpu.cpus) == ("cpu", 1440, 64_000, 8)
    assert (gpu.gpus, gpu.per_node, gpu.nodes, gpu.gpu_memory_mb) == (4, 2, 2, 0)
    site.write_text(site.read_text().replace("64000", "600"))
    process = start_snakemake(program=("snakemake", "--workflow-profile", "profiles/slurm"))
    said = process.communicate(timeout=300)[0]
    assert process.returncode != 0
    assert "error: profiles/slurm/site.yaml: no partition takes " in said
    assert re.search(r" of pocket-[a-z0-9-]+ \(cpu: [0-9,]+ MB of memory of 600\).* and \d+ more", said)
    assert slurm.ask("squeue", "--states", "all", "-h") == ""


@pytest.mark.slow
def test_a_training_writes_a_checkpoint_before_its_time_limit(slurm, place, prepare, start_snakemake):
    """Both processes under torchrun are signalled, by Slurm and by torchrun; the next attempt resumes there."""
    prepare((0, 1, 1_000_000), "gpus", gpus=2, runtime=2)
    process = start_snakemake(*QUICK, program=("snakemake", "--workflow-profile", "profiles/slurm"))
    log = place / "pythia-70m.log"
    wait_for(lambda: log.is_file() and "is written" in log.read_text(), 400)
    saved = int(re.search(r"signal 15: checkpoint of step (\d+) is written", log.read_text())[1])
    assert saved > 1
    assert (place / "pythia-70m" / WORKING / f"step{saved}" / "state.json").is_file()
    wait_for(lambda: "continuing" in log.read_text() or f"step {saved}" in log.read_text().split("is written")[1], 200)
    process.terminate()
