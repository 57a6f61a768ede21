"""The same command for one process, one node and several nodes."""

import socket
import sys

import pytest

from workflow_scripts.errors import ConfigError
from workflow_scripts.training.launch import launch_command

TRAIN = ["--parallel", "fsdp", "--recipe", "recipe.json"]


@pytest.mark.parametrize("processes", [0, 1])
def test_one_process_is_the_training_program_itself(processes):
    command = launch_command(processes, ["--recipe", "x"], {})
    assert command == [sys.executable, "-m", "workflow_scripts.training.retrain", "--recipe", "x"]


def test_several_on_one_node_are_torchruns():
    command = launch_command(4, TRAIN, {"SLURM_JOB_NUM_NODES": "1"})
    assert command[1:5] == ["-m", "torch.distributed.run", "--nproc-per-node", "4"]
    assert command[5:9] == ["--shutdown-timeout", "600", "--standalone", "--module"]
    assert command[-4:] == TRAIN


@pytest.mark.parametrize("environment", [{"SLURM_JOB_NUM_NODES": "2"}, {}], ids=["of Slurm", "of the rule"])
def test_several_nodes_meet_on_the_first(environment):
    """Snakemake's job step leaves only the number of the job; then the rule names the nodes."""
    nodes = None if environment else 2
    command = launch_command(8, TRAIN, {**environment, "SLURM_JOB_ID": "31007"}, nodes=nodes, patience=900)
    assert command[:3] == ["srun", "--nodes", "2"]
    text = " ".join(command)
    assert "--nproc-per-node 8 --shutdown-timeout 900 --nnodes 2 --rdzv-backend c10d --rdzv-id 31007" in text
    assert f"--rdzv-endpoint {socket.gethostname()}:21007 --module" in text


def test_several_nodes_outside_a_job_are_refused():
    with pytest.raises(ConfigError, match="SLURM_JOB_ID"):
        launch_command(8, TRAIN, {}, nodes=2)


def test_several_processes_without_a_way_to_share_are_refused():
    with pytest.raises(ConfigError, match="--parallel"):
        launch_command(2, ["--recipe", "x"], {})
