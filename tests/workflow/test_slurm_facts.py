"""Answers of sinfo, scontrol and sacctmgr, as Slurm 22.05 prints them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.workflow.requests import slurm_facts
from workflow_scripts.workflow.requests.slurm_facts import associations, enforced, gpus_of, job_age, partitions_seen

NODES = """\
cpu|1-00:00:00|8|64000|(null)|(null)|c1
cpu|1-00:00:00|16|128000|(null)|avx512,ib|c2
gpu|2-00:00:00|64|1000000|gpu:h100:8(S:0-1)|ib|g1
gpu|2-00:00:00|64|1000000|gpu:h100:8(S:0-1)|ib|g2
old|infinite|32|256000|gpu:v100:4,shard:v100:16|(null)|v1
"""
PARTITIONS = (
    "PartitionName=cpu AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL MaxNodes=UNLIMITED TRES=cpu=24,mem=192000M\n"
    "PartitionName=gpu AllowGroups=ALL AllowAccounts=ml,bio AllowQos=normal,long MaxNodes=1 TRES=cpu=128,gres/gpu=16\n"
)


def test_partitions_with_their_largest_node_and_their_gpus():
    cpu, gpu, old = partitions_seen(NODES, PARTITIONS)
    assert (cpu.name, cpu.memory_mb, cpu.cpus, cpu.nodes, cpu.gpus) == ("cpu", 128_000, 16, 2, {})
    assert cpu.features == {"avx512", "ib"}
    assert (gpu.gpus, gpu.gpu_nodes, gpu.max_nodes, gpu.accounts, gpu.qos) == (
        {"h100": 8},
        2,
        1,
        "ml,bio",
        "normal,long",
    )
    assert [each.name for each in partitions_seen("\n".join(NODES.splitlines()[::-1]))] == ["cpu", "gpu", "old"]
    assert (old.time_limit, old.gpus, old.max_nodes, old.accounts) == ("infinite", {"v100": 4}, None, "ALL")


@pytest.mark.parametrize("answer", ["", "sinfo: error\n", "a|b|c\n", "gpu|1d|x|y|z|f|n\n"])
def test_what_is_no_answer_is_no_partition(answer):
    assert partitions_seen(answer) == []


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_is_a_traceback(nodes, partitions):
    partitions_seen(nodes, partitions)
    gpus_of(nodes)
    job_age(nodes)
    enforced(nodes)
    associations(nodes)


def test_settings_and_accounts():
    settings = (
        "MessageTimeout = 10 sec\nMinJobAge               = 300 sec\nAccountingStorageEnforce = associations,qos\n"
    )
    assert job_age(settings) == 300
    assert enforced(settings) == {"associations", "qos"}
    assert enforced("AccountingStorageEnforce = none\n") == frozenset()
    assert job_age("") is None
    assert associations("ml|normal,long\nbio|\n") == {"ml": frozenset({"normal", "long"}), "bio": frozenset()}


def test_a_command_that_is_not_there_or_fails_says_nothing():
    assert slurm_facts.ask("no-such-program-here") == ""
    assert slurm_facts.ask("false") == ""
