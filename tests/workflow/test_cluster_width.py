"""How many allocations and downloads run at once with profiles/slurm: Snakemake's own scheduler, jobs only on paper."""

import threading
import time
import types
import warnings
from pathlib import Path

import pytest
import yte
from snakemake.api import SnakemakeApi
from snakemake.resources import ResourceScopes
from snakemake.scheduling.greedy import SchedulerSettings
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    GroupSettings,
    OutputSettings,
    Quietness,
    RemoteExecutionSettings,
    ResourceSettings,
    SchedulingSettings,
)
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecMode

from workflow_scripts.workflow import readiness
from workflow_scripts.workflow.cluster.submitted_jobs import members

MODELS = ["pythia-70m", "pythia-160m", "pythia-410m"]  # with 154 checkpoints each: 117 allocations of four
SETTLED_SECONDS = (0.05, 3.0)  # without a submission, after which other jobs end, and allocations that score


class PaperExecutor(RealExecutor):
    """Ends jobs when none has been started for a while: downloads soon, allocations that score much later."""

    running: dict[object, str]
    seen: list[tuple[int, int]]  # allocations that score and downloads, after each start

    def __post_init__(self):
        self.running, self.seen = {}, []
        self.lock, self.open, self.started_at = threading.Lock(), True, time.monotonic()
        PaperExecutor.last = self
        self.thread = threading.Thread(target=self.end_jobs, daemon=True)
        self.thread.start()

    def run_job(self, job):
        kind = "score" if "score_checkpoint" in job.rules else "other"
        with self.lock:
            self.started_at = time.monotonic()
            self.running[job] = "download" if job.resources.get("downloads") else kind
            kinds = list(self.running.values())
            self.seen.append((kinds.count("score"), kinds.count("download")))
        self.report_job_submission(SubmittedJobInfo(job), register_job=False)

    def end_jobs(self):
        while self.open:
            time.sleep(0.01)
            with self.lock:
                settled = time.monotonic() - self.started_at
                ended = [job for job, kind in self.running.items() if settled > SETTLED_SECONDS[kind == "score"]]
                for job in ended:
                    del self.running[job]
            for job in ended:
                for part in members(job):
                    for path in (*part.output, part.benchmark):
                        Path(path).parent.mkdir(parents=True, exist_ok=True)
                        Path(path).touch()
                self.report_job_success(SubmittedJobInfo(job))

    def shutdown(self):
        self.open = False
        self.thread.join()

    def cancel(self):
        self.shutdown()

    cores = "all"

    def get_exec_mode(self):
        return ExecMode.REMOTE

    def get_python_executable(self):
        return "python"


@pytest.fixture
def paper():
    """Name of the executor in Snakemake's registry."""
    registry = ExecutorPluginRegistry()
    settings = CommonSettings(non_local_exec=True, implies_no_shared_fs=False, job_deploy_sources=False)
    module = types.SimpleNamespace(Executor=PaperExecutor, common_settings=settings)
    registry.register_plugin("snakemake_executor_plugin_paper", module)
    yield "paper"
    del registry.plugins["paper"]


@pytest.mark.slow
def test_a_hundred_ready_blocks_fill_the_profile_and_the_bound_of_downloads_holds_downloads_only(
    root, tmp_path, monkeypatch, paper
):
    monkeypatch.chdir(tmp_path)
    for name in ("config", "rules", "workflow_scripts", "Snakefile"):
        (tmp_path / name).symlink_to(root / name)
    monkeypatch.setattr(readiness, "require_places", lambda places: None)  # the Hub is not asked
    profile = yte.process_yaml((root / "profiles/slurm/profile.v9+.yaml").read_text(), require_use_yte=True)
    settings = {"run": "width", "models": MODELS, "suite": "pythia", "steps": "all", "tasks": ["sciq"], "figures": []}
    settings |= {"checkpoints": {"source": "hub"}}
    with warnings.catch_warnings(), SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        warnings.simplefilter("ignore")
        workflow = api.workflow(
            resource_settings=ResourceSettings(
                cores=profile["cores"],
                nodes=profile["jobs"],
                resources=profile["resources"],
                overwrite_resource_scopes=ResourceScopes(profile["set-resource-scopes"]),
            ),
            config_settings=ConfigSettings(config=settings),
            snakefile=root / "Snakefile",
            workdir=tmp_path,
        )
        dag = workflow.dag(DAGSettings(targets={"evaluate"}, until={"score_checkpoint"}))
        dag.execute_workflow(
            executor=paper,
            group_settings=GroupSettings(group_components=profile["group-components"]),
            scheduling_settings=SchedulingSettings(scheduler=profile["scheduler"]),
            scheduler_settings=SchedulerSettings(),
            greedy_scheduler_settings=SchedulerSettings(),
            remote_execution_settings=RemoteExecutionSettings(),
        )
    seen = PaperExecutor.last.seen
    assert max(score for score, _ in seen) == profile["jobs"]
    assert max(download for _, download in seen) == profile["resources"]["downloads"]
    widest = max(score for score, download in seen if download == profile["resources"]["downloads"])
    assert widest > profile["resources"]["downloads"], "allocations that score do not count as downloads"
