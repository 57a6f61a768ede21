"""Profiles name options and rules that exist, and say nothing about a result."""

import importlib.util
import re
import subprocess
import warnings

import pytest
import yaml
import yte
from snakemake.api import SnakemakeApi
from snakemake.cli import get_argument_parser
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    GroupSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
)

from workflow_scripts.workflow.tools import unlock

PROFILES = ("local", "slurm", "slurm-offline", "kubernetes")
PLUGIN_PREFIXES = ("slurm-", "kubernetes-")
SCIENCE = {"config", "configfile", "configfiles"}


def read(root, name):
    return yte.process_yaml((root / "profiles" / name / "profile.v9+.yaml").read_text(), require_use_yte=True)


def test_the_default_profile_holds_only_what_all_profiles_share(root):
    """It is read beside ``--profile slurm`` and would silently override that key by key."""
    names = {path.name for path in (root / "profiles").iterdir()}
    assert names == {*PROFILES, "default"}
    shared = read(root, "default")
    assert set(shared) == {"rerun-triggers", "logger"}
    assert all({key: read(root, name)[key] for key in shared} == shared for name in PROFILES)


@pytest.mark.parametrize("name", [*PROFILES, "default"])
def test_every_profile_has_our_logger_where_it_can_be_imported(root, name, monkeypatch):
    assert read(root, name)["logger"] == "brief"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "logger" not in read(root, name)


@pytest.mark.parametrize("name", PROFILES)
def test_every_option_exists_and_none_is_science(root, name):
    known = {text.lstrip("-") for action in get_argument_parser()._actions for text in action.option_strings}
    keys = {key for key in read(root, name) if not key.startswith(PLUGIN_PREFIXES)}
    assert keys <= known
    assert not keys & SCIENCE


def rules_of(root, folder, file):
    """Names of the rules of a run."""
    with warnings.catch_warnings(), SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        warnings.simplefilter("ignore")
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(configfiles=[root / "config" / file]),
            snakefile=root / "Snakefile",
            workdir=folder,
        )
        workflow.dag()
        return {rule.name for rule in workflow._workflow.rules}


@pytest.mark.parametrize("name", PROFILES)
def test_every_rule_exists(plan, root, name, tmp_path):
    """In one of the runs: those that train have other rules than those that download."""
    rules = set().union(*(rules_of(root, tmp_path, file) for file in ("config.yaml", "runs/suite.yaml")))
    profile = read(root, name)
    assert {*profile.get("groups", {}), *profile.get("set-resources", {})} <= rules


@pytest.mark.parametrize("name", ["slurm", "slurm-offline"])
def test_the_site_file_is_shared_and_has_both_kinds_of_partition(root, name):
    site = yaml.safe_load((root / read(root, name)["slurm-partition-config"]).read_text())
    gpus = {partition: limits.get("max_gpu", 0) for partition, limits in site["partitions"].items()}
    assert min(gpus.values()) == 0 < max(gpus.values())


@pytest.mark.parametrize(("name", "local"), [("slurm", False), ("slurm-offline", True)])
def test_downloads_stay_on_the_login_node_where_the_profile_says_so(plan, root, tmp_path, name, local):
    with warnings.catch_warnings(), SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        warnings.simplefilter("ignore")
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=2, resources=read(root, name)["resources"]),
            config_settings=ConfigSettings(configfiles=[root / "config" / "runs" / "suite.yaml"]),
            snakefile=root / "Snakefile",
            workdir=tmp_path,
        )
        workflow.dag()
        for rule in (
            "fetch_checkpoint",
            "observe_model",
            "list_dataset_files",
            "download_dataset_file",
            "fetch_tokenizer",
            "fetch_data_train",
            "fetch_data_test_dev",
            "fetch_winobias",
        ):
            assert (rule in workflow._workflow._localrules) == local
        assert "score_checkpoint" not in workflow._workflow._localrules


@pytest.mark.parametrize("budget", [None, 1], ids=["all", "sweep"])
def test_an_allocation_scores_several_checkpoints_of_one_model_and_downloads_none(root, tmp_path, monkeypatch, budget):
    """With a disk budget each is alone: the third would wait for a checkpoint of its own allocation to be released."""
    monkeypatch.chdir(tmp_path)
    for name in ("config", "rules", "workflow_scripts", "Snakefile"):
        (tmp_path / name).symlink_to(root / name)
    components = read(root, "slurm")["group-components"]
    assert components == read(root, "slurm-offline")["group-components"]
    settings = {"run": "groups", "models": ["pythia-70m", "pythia-160m"], "suite": "pythia", "steps": [0, 1, 2, 4, 8]}
    settings |= {"tasks": ["sciq"], "checkpoints": {"source": "hub", "disk_budget_gb": budget}, "figures": []}
    with warnings.catch_warnings(), SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        warnings.simplefilter("ignore")
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=2, nodes=2),
            config_settings=ConfigSettings(config=settings),
            snakefile=root / "Snakefile",
            workdir=tmp_path,
        )
        dag = workflow.dag(DAGSettings(targets={"evaluate"}))
        dag.execute_workflow(executor="dryrun", group_settings=GroupSettings(group_components=components))
        groups = {id(group): group for group in workflow._workflow.dag._group.values()}.values()
    found = sorted(sorted((job.rule.name, job.wildcards.model) for job in group.jobs) for group in groups)
    if budget:
        assert found == []
        return
    one = [[("score_checkpoint", name)] for name in ("pythia-160m", "pythia-70m")]
    assert found == sorted([*one, *(4 * group for group in one)])


def test_the_head_can_be_read_by_bash_and_is_none_of_the_jobs_that_unlock_cancels(root):
    script = root / "profiles/slurm/head.sbatch"
    assert subprocess.run(["bash", "-n", script], capture_output=True).returncode == 0
    (name,) = re.findall(r"^#SBATCH --job-name=(.+)$", script.read_text(), re.MULTILINE)
    assert not name.startswith(unlock.JOB_PREFIX)
    prefixes = {read(root, profile)["slurm-jobname-prefix"] + "_" for profile in ("slurm", "slurm-offline")}
    assert prefixes == {unlock.JOB_PREFIX}
