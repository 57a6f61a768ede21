"""The same command for one process, one node and several nodes."""

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
    assert command[1:7] == ["-m", "torch.distributed.run", "--nproc-per-node", "4", "--standalone", "--module"]
    assert command[-4:] == TRAIN


def test_several_nodes_meet_on_the_first():
    command = launch_command(8, TRAIN, {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1"})
    assert command[:3] == ["srun", "--nodes", "2"]
    text = " ".join(command)
    assert "--nnodes 2 --rdzv-backend c10d --rdzv-id 7 --rdzv-endpoint n1:29500 --module" in text


def test_several_processes_without_a_way_to_share_are_refused():
    with pytest.raises(ConfigError, match="--parallel"):
        launch_command(2, ["--recipe", "x"], {})
