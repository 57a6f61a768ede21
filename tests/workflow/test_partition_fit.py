"""Jobs that no partition takes: named for a run's stages and for the jobs that Snakemake is about to submit."""

import types

import pytest

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow import plan
from workflow_scripts.workflow.requests.cluster_site import Partition, Site
from workflow_scripts.workflow.requests.partition_fit import (
    groups_of_profile,
    misfits,
    report_of_site,
    require_partitions,
)
from workflow_scripts.workflow.resources import JobResources
from workflow_scripts.workflow.tools import check
from workflow_scripts.workflow.tools.check import DEFAULT

CPU = Partition("cpu", minutes=1440, memory_mb=64_000, cpus=8)


def gpus(**changes):
    limits = {"minutes": 1440, "memory_mb": 1e6, "cpus": 64, "gpus": 8, "nodes": 1, "gpu_memory_mb": 80_000}
    return Partition("gpu", **{**limits, **changes})


def asked(site, models=("pythia-70m", "pythia-12b"), groups=None, **changes):
    settings = {"suite": "pythia", "models": list(models), "steps": "all", "tasks": "all", "device": "cuda"}
    run = load_run({**load_yaml(DEFAULT), **settings, **changes})
    return run, JobResources(run, {}, site, groups or {})


def test_everything_has_a_place_on_nodes_that_are_large_enough():
    assert misfits(*asked(Site(partitions=(CPU, gpus())))) == []


@pytest.mark.parametrize(
    ("partition", "groups", "rule", "reason"),
    [
        (gpus(memory_mb=64_000), {}, "train_model", "154,953 MB of memory of 64,000"),
        (gpus(memory_mb=64_000), {}, "score_checkpoint", "MB of memory of 64,000"),
        (gpus(gpu_memory_mb=48_000), {}, "score_checkpoint", "MB of a GPU's 48,000"),
        (gpus(gpus=2, per_node=2), {}, "train_model", "MB of a GPU's 80,000"),
        (gpus(minutes=600), {"score_{model}": 4}, "score_checkpoint", "772 minutes of 600"),
        (gpus(cpus=16), {}, "train_model", "32 processors of 16"),
    ],
)
def test_the_rule_the_model_and_the_limit_are_named(partition, groups, rule, reason):
    found = [
        line for line in misfits(*asked(Site(partitions=(CPU, partition)), groups=groups)) if line.startswith(rule)
    ]
    assert found, (rule, reason)
    named = f"{rule} of pythia-12b: no partition takes it (gpu: "
    assert any(line.startswith(named) and reason in line for line in found)
    assert not any("pythia-70m" in line for line in found)


def test_a_training_that_no_job_brings_to_its_next_checkpoint_is_named():
    run, requests = asked(Site(partitions=(CPU, gpus(minutes=600))))
    lines = [line for line in misfits(run, requests) if "between two checkpoints" in line]
    assert lines == [line for line in lines if "pythia-12b" in line] != []
    assert "17 hours between two checkpoints, and a job may take 10" in lines[0]


def test_a_long_list_is_cut():
    run, requests = asked(Site(partitions=(CPU,)), models=["pythia-*-deduped"])
    told = report_of_site(run, requests)
    assert len(told) == 9
    assert told[-1].startswith("... and ")


def test_check_and_plan_say_it_before_anything_is_submitted(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(root)
    site = tmp_path / "site.yaml"
    site.write_text("partitions: {cpu: {max_mem_mb: 64000}, gpu: {max_mem_mb: 64000, max_gpu: 8}}\n")
    monkeypatch.setenv("SNAKEMAKE_SLURM_PARTITIONS", str(site))
    for program in (check.main, plan.main):
        assert cli.run(program, ["--config", "config/runs/suite.yaml"]) == 0
        told = capsys.readouterr().out
        assert f"on {site}: score_checkpoint of pythia-12b: no partition takes it (gpu: 72,8" in told


def test_the_profile_says_how_many_share_an_allocation(root, monkeypatch, tmp_path):
    monkeypatch.chdir(root)
    assert groups_of_profile()["score_{model}"] >= 1
    monkeypatch.chdir(tmp_path)
    assert groups_of_profile() == {}


def job(name, group=None, local=False, model="pythia-12b", **resources):
    """A job as far as it is looked at."""
    rule = types.SimpleNamespace(name=name, shellcmd="true", group=group)
    return types.SimpleNamespace(
        rule=rule, is_local=local, wildcards_dict={"model": model} if model else {}, resources=resources, threads=1
    )


def test_jobs_of_snakemake_are_held_to_the_site():
    site = Site(partitions=(CPU, gpus()))
    fits = [
        job("score_checkpoint", "score_{model}", mem_mb=70_000, runtime=300, gpu=1),
        job("fetch", local=True, mem_mb=10**7),
        job("train_model", mem_mb=1000, runtime=60, gres="gpu:h100:8", cpus_per_task=32),
        job("elsewhere", mem_mb=10**7, slurm_partition="bigmem"),
    ]
    require_partitions(fits, site, {"score_{model}": 4})
    wrong = [
        job("score_checkpoint", "score_{model}", mem_mb=70_000, runtime=400, gpu=1),
        job("score_checkpoint", "score_{model}", mem_mb=70_000, runtime=400, gpu=1),
        job("train_model", mem_mb=1000, runtime=60, gres="gpu:h100:16"),
        job("collect_scores", model=None, mem_mb=10**7, slurm_partition="cpu"),
    ]
    with pytest.raises(ConfigError) as error:
        require_partitions([*fits, *wrong], site, {"score_{model}": 4})
    told = str(error.value)
    # The first job of a rule and model stands for all of them.
    assert "train_model of pythia-12b" not in told
    with pytest.raises(ConfigError) as error:
        require_partitions(wrong, site, {"score_{model}": 4})
    told = str(error.value)
    assert told.count("score_checkpoint of pythia-12b (gpu: 1,600 minutes of 1,440)") == 1
    assert "train_model of pythia-12b (gpu: 16 GPUs of 8)" in told
    assert "collect_scores (cpu: 10,000,000 MB of memory of 64,000)" in told
