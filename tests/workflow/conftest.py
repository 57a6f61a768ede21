"""Planning the graph in this process: a plan costs a fraction of a second instead of the start of a Snakemake."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from pathlib import Path

import pytest
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings


@pytest.fixture
def plan(root, tmp_path, monkeypatch):
    """Function that plans a run in an empty folder: ``plan(targets, configfile, **config)`` -> jobs per rule.

    The folder sees the project's config, rules and tables by links, and has no results.
    """
    for name in ("config", "rules", "envs", "notebooks", "Snakefile", "workflow_scripts"):
        (tmp_path / name).symlink_to(root / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))

    def make(targets=(), configfile=None, **config):
        files = [Path(root / configfile)] if configfile else []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
                workflow = api.workflow(
                    resource_settings=ResourceSettings(cores=2),
                    config_settings=ConfigSettings(config=config, configfiles=files),
                    snakefile=root / "Snakefile",
                    workdir=tmp_path,
                )
                dag = workflow.dag(DAGSettings(targets=set(targets), forceall=True))
                dag.execute_workflow(executor="dryrun")
                # A private attribute; the public door, --d3dag, costs a process. Snakemake is pinned.
                return Counter(job.rule.name for job in workflow._workflow.dag.jobs)

    return make
