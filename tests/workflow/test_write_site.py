"""A site's file from what the cluster says: it passes its schema, is read back, and the doctor agrees with it."""

import sys

import pytest

from tests.workflow.test_slurm_facts import NODES, PARTITIONS
from workflow_scripts import cli
from workflow_scripts.workflow.requests import slurm_facts
from workflow_scripts.workflow.requests.cluster_site import read_site
from workflow_scripts.workflow.requests.site_checks import disagreements, refused_users
from workflow_scripts.workflow.requests.slurm_facts import partitions_seen
from workflow_scripts.workflow.tools import doctor, write_site

ANSWERS = {
    slurm_facts.NODES: NODES,
    slurm_facts.PARTITIONS: PARTITIONS,
    slurm_facts.SETTINGS: "MinJobAge = 60 sec\nAccountingStorageEnforce = associations\n",
}


@pytest.fixture(autouse=True)
def cluster(monkeypatch):
    """A cluster that answers; its accounts are those of the test's dictionary."""
    answers = dict(ANSWERS)
    monkeypatch.setattr(slurm_facts, "ask", lambda *command: answers.get(command, answers.get(command[0], "")))
    monkeypatch.setattr(write_site, "ask", lambda *command: answers.get(command, ""))
    monkeypatch.delenv("SBATCH_ACCOUNT", raising=False)
    return answers


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "site.yaml"
    assert cli.run(write_site.main, ["--output", str(path)]) == 0
    return path


def test_what_is_written_is_what_the_cluster_has(written):
    site = read_site(written)
    cpu, gpu, old = site.partitions
    assert (cpu.minutes, cpu.memory_mb, cpu.cpus, cpu.nodes, cpu.gpus) == (1440, 128_000, 16, 2, 0)
    assert (gpu.gpus, gpu.per_node, gpu.nodes, gpu.gpu_memory_mb, gpu.rates["bfloat16"]) == (8, 8, 1, 80_000, 400e12)
    assert (old.gpus, old.gpu_memory_mb) == (4, 16_000)
    assert disagreements(site, {each.name: each for each in partitions_seen(NODES, PARTITIONS)}) == []


def test_it_is_printed_where_no_file_is_named(capsys):
    assert cli.run(write_site.main, []) == 0
    assert "max_gpu: 8" in capsys.readouterr().out


def test_unknown_gpus_are_left_open(cluster, tmp_path, capsys):
    cluster[slurm_facts.NODES] = NODES.replace("v100", "mystery")
    path = tmp_path / "site.yaml"
    assert cli.run(write_site.main, ["--output", str(path)]) == 0
    assert "enter memory_mb and tflops of the GPUs of old" in capsys.readouterr().out
    assert read_site(path).partitions[2].gpu_memory_mb == 0


def test_without_a_cluster_nothing_is_written(cluster, tmp_path, capsys):
    cluster.clear()
    assert cli.run(write_site.main, ["--output", str(tmp_path / "site.yaml")]) == 2
    assert "sinfo named no node" in capsys.readouterr().err
    assert not (tmp_path / "site.yaml").exists()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("max_runtime: 2-00:00:00", "max_runtime: 7d", "gpu: max_runtime is 10,080, the cluster has 2,880"),
        ("max_mem_mb: 1000000", "max_mem_mb: 2000000", "gpu: max_mem_mb is 2,000,000"),
        ("  cpu:", "  batch:", "the cluster has no partition batch, only cpu, gpu, old"),
        ("per_node: 4", "per_node: 16", "old: per_node is 16"),
        ("max_nodes: 2", "max_nodes: 2\n    available_constraints: [avx10]", "no node has the feature avx10"),
    ],
)
def test_the_doctor_names_what_the_cluster_does_not_have(written, old, new, line):
    text = written.read_text()
    assert old in text
    written.write_text(text.replace(old, new, 1))
    found = disagreements(read_site(written), {each.name: each for each in partitions_seen(NODES, PARTITIONS)})
    assert any(line in each for each in found), found


@pytest.mark.parametrize(
    ("accounts", "line"),
    [
        ("", "jobs need an account and you have none"),
        ("ml|normal\n", ""),
        ("nlp|normal\n", "gpu takes the accounts ml,bio"),
        ("ml|short\n", "gpu takes the QOS normal,long, yours are short"),
        ("ml|normal\nnlp|\n", ""),
    ],
)
def test_accounts_and_qos_that_a_partition_does_not_take(cluster, written, accounts, line):
    cluster["sacctmgr"] = accounts
    found = refused_users(read_site(written), partitions_seen(NODES, PARTITIONS))
    assert any(line in each for each in found) if line else found == [], found


def test_an_account_that_is_not_yours_is_named(cluster, written, monkeypatch):
    cluster["sacctmgr"] = "ml|normal\n"
    monkeypatch.setenv("SBATCH_ACCOUNT", "nlp")
    found = refused_users(read_site(written), partitions_seen(NODES, PARTITIONS))
    assert "SBATCH_ACCOUNT is nlp, your accounts are ml" in found


def test_the_doctor_says_all_of_it(cluster, written, monkeypatch, capsys, root):
    """A job age that is too short, a site that promises too much, and a job that no partition takes."""
    monkeypatch.chdir(root)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: sys.executable)
    written.write_text(written.read_text().replace("max_mem_mb: 1000000", "max_mem_mb: 20000"))
    monkeypatch.setenv("SNAKEMAKE_SLURM_PARTITIONS", str(written))
    cluster["sacctmgr"] = "ml|normal\n"
    assert cli.run(doctor.main, ["--config", "config/runs/suite.yaml"]) == 0
    told = capsys.readouterr().out
    assert "MinJobAge is 60 s" in told
    assert "4 partitions" not in told
    assert "score_checkpoint of pythia-12b: no partition takes it" in told
    assert "72,8" in told
