"""Jobs that no partition of the site takes, named before the first is submitted.

``plan``, ``check`` and ``doctor`` ask about the stages of each model, ``snakemake --profile slurm`` about exactly the
jobs that it is going to submit. The Slurm plugin would send such a job to the default partition, where it waits for
ever or ends at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from workflow_scripts.errors import ConfigError
from workflow_scripts.suite.experiment_files import experiments_of
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import Run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.requests.cluster_site import Request, Site
from workflow_scripts.workflow.requests.training_requests import longest_interval
from workflow_scripts.workflow.resources import JobResources, request_of, retrain
from workflow_scripts.workflow.training_segments import expected_seconds

PROFILE = Path("profiles") / "slurm" / "profile.v9+.yaml"
SHOWN = 8
REMEDIES = {
    "fetch": "enter what your nodes have",
    "evaluate": "smaller group-components, another evaluation.dtype, or enter what your nodes have",
    "retrain": "training.segments, .gpus or .recompute_activations, or enter what your nodes have",
    "memorize": "fewer memorization.rows_per_job, or enter what your nodes have",
}


def groups_of_profile(path: Path = PROFILE) -> Mapping[str, int]:
    """How many jobs of each group share an allocation, as a profile says; none without the file."""
    return load_yaml(path).get("group-components", {}) if path.is_file() else {}


def stages_of(run: Run) -> Iterator[tuple[str, str]]:
    """Rules whose requests grow with a model, and the stages that these are computed for."""
    yield "fetch_checkpoint", "fetch"
    if run.score_kinds and run.tasks:
        yield "score_checkpoint", "evaluate"
    if run.retrains:
        yield "train_model", "retrain"
    if run.retrains and "interventions" in experiments_of(run):
        yield "train_arm", "retrain"
    if "memorization" in experiments_of(run):
        yield "score_memorization", "memorize"


def misfits(run: Run, asked: JobResources) -> list[str]:
    """A line for each rule and model of ``run`` that no partition of the site takes."""
    found = []
    for model in run.models:
        for rule, stage in stages_of(run):
            reason = asked.site.refusal(largest_request(run, model, stage, asked))
            if reason:
                found.append(f"{rule} of {model.name}: no partition takes it ({reason}); {REMEDIES[stage]}")
        if run.retrains:
            found += too_long(run, model, asked.site)
    return found


def largest_request(run: Run, model: Model, stage: str, asked: JobResources) -> Request:
    """The first attempt of a stage's largest job: the longest segment, or an allocation of several evaluations."""
    if stage == "retrain":
        return request_of(retrain(run, model, asked.site, asked.segments.longest_share(model.name)))
    together = min(asked.together, len(run.steps[model.name])) if stage == "evaluate" else 1
    return request_of(asked.needs[model.name][stage], max(together, 1))


def too_long(run: Run, model: Model, site: Site) -> list[str]:
    """A line where a training does not reach its next checkpoint within the longest job."""
    hours = expected_seconds(run, model, site) * longest_interval(model) / 3600
    asked = 0 if run.settings.get("device", "cpu") == "cpu" else 1
    if not site.partitions or hours * 60 <= site.longest_minutes(asked):
        return []
    return [
        f"train_model of {model.name}: {hours:,.0f} hours between two checkpoints, and a job may take "
        f"{site.longest_minutes(asked) / 60:,.0f}: each needs several attempts, which resume; or more training.gpus"
    ]


def report_of_site(run: Run, asked: JobResources) -> list[str]:
    """What ``check`` and ``plan`` say about a run on the site; nothing when every job has a place."""
    found = misfits(run, asked)
    more = [f"... and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return [f"on {asked.site.path}: {line}" for line in found[:SHOWN]] + more


def require_partitions(jobs: Iterable[Any], site: Site, groups: Mapping[str, int]) -> None:
    """Raise ConfigError, naming rules and models, for Snakemake's ``jobs`` that no partition takes."""
    refused: dict[str, str] = {}
    for job in jobs:
        if job.is_local or not job.rule.shellcmd:
            continue
        together = groups.get(str(job.rule.group), 1) if job.rule.group else 1
        model = job.wildcards_dict.get("model")
        name = job.rule.name if model is None else f"{job.rule.name} of {model}"
        if name not in refused:
            refused[name] = site.refusal(request_of_job(job, together), job.resources.get("slurm_partition"))
    named = [f"{name} ({reason})" for name, reason in refused.items() if reason]
    if named:
        more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
        raise ConfigError(f"{site.path}: no partition takes {'; '.join(named[:SHOWN])}{more}")


def request_of_job(job: Any, together: int = 1) -> Request:
    """What one job of Snakemake asks Slurm for, in an allocation of ``together`` such jobs in a row."""
    ask = job.resources.get
    gres = str(ask("gres", "") or "")
    nodes = int(ask("nodes", 1) or 1)
    gpus = nodes * int(gres.rsplit(":", 1)[-1]) if gres.startswith("gpu:") else int(ask("gpu", 0) or 0)
    cpus = int(ask("cpus_per_task", 0) or job.threads or 1)
    minutes = int(ask("runtime", 0) or 0) * together
    return Request(int(ask("mem_mb", 0) or 0), minutes, cpus, gpus, nodes, int(ask("gpu_mem_mb", 0) or 0))
