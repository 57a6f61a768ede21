"""A finished run that is made up: every output of a configuration exists, and Snakemake is told that it made them.

Plans are made in this process; nothing is computed, so what a change makes necessary is known within a second.
"""

import io
import os
import shutil
import time
import warnings
import zipfile
from collections import Counter
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    RerunTrigger,
    ResourceSettings,
)

# As in every profile: a changed set of inputs alone is no reason.
TRIGGERS = frozenset(RerunTrigger) - {RerunTrigger.INPUT}
COPIED = ("config", "rules", "workflow_scripts", "envs", "notebooks", "docs")

# The smallest run with a trained model, scores and figures; tests change one choice of it at a time.
RUN = {
    "run": "small",
    "models": ["pocket-90k"],
    "steps": [0, 1],
    "shots": [0],
    "tasks": ["pocket_agreement"],
    "figures": ["scores_over_training", "loss_over_training"],
    "experiments": [],
}


def archive_of(*tasks):
    """An archive of loglikelihoods as far as the rules look into it: its table of contents names the tasks."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for task in tasks:
            file.writestr(f"{task}/plan_identity.npy", b"")
    return buffer.getvalue()


class FinishedRun:
    """A folder in which everything of ``config`` is made, for edits and plans."""

    def __init__(self, folder, root, targets=(), **config):
        self.folder, self.targets, self.config = folder, set(targets), config
        for name in COPIED:
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(root / "Snakefile", folder / "Snakefile")
        # Planned in this process, whose package is that of the checkout; rules/checkout.smk looks at this file.
        (folder / "workflow_scripts/__init__.py").unlink()
        (folder / "workflow_scripts/__init__.py").symlink_to(root / "workflow_scripts/__init__.py")
        for job in self.jobs(forceall=True):
            for path in map(str, job.output):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content_of(path, job))
        self.jobs(executor="touch", forceall=True)

    def jobs(self, executor="dryrun", *, forceall=False, cores=2, resources=None, every=False, targets=None, **config):
        """Jobs that Snakemake would run; with ``every`` all jobs of the graph."""
        with warnings.catch_warnings(), SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            warnings.simplefilter("ignore")
            workflow = api.workflow(
                resource_settings=ResourceSettings(cores=cores, overwrite_resources=resources or {}),
                config_settings=ConfigSettings(config={**self.config, **config}),
                snakefile=self.folder / "Snakefile",
                workdir=self.folder,
            )
            dag = workflow.dag(
                DAGSettings(
                    targets=self.targets if targets is None else set(targets),
                    forceall=forceall,
                    rerun_triggers=TRIGGERS,
                )
            )
            dag.execute_workflow(executor=executor)
            graph = workflow._workflow.dag  # a private attribute, as in conftest.py; Snakemake is pinned
            return [job for job in graph.jobs if every or graph.needrun(job)]

    def rebuilt(self, **arguments):
        """Jobs per rule that an edit makes necessary."""
        return dict(Counter(job.rule.name for job in self.jobs(**arguments)))

    def rebuilt_after(self, name, old, new):
        """The same after a replacement in a file, which is taken back."""
        path = self.folder / name
        text = path.read_text()
        facts = path.stat()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        os.utime(path, (time.time() + 60, time.time() + 60))
        try:
            return self.rebuilt()
        finally:
            path.write_text(text)
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    def rebuilt_without(self, path):
        """Jobs, as pairs of rule and outputs, that run when one output is deleted; it is put back with its times."""
        path = self.folder / path
        hidden = path.with_name(f".{path.name}.away")
        path.rename(hidden)
        try:
            return [(job.rule.name, {str(output) for output in job.output}) for job in self.jobs()]
        finally:
            hidden.rename(path)


def content_of(path, job):
    """What a made-up output holds: its own name, or what the graph looks into when it is planned."""
    if not path.endswith(".loglikelihoods.npz"):
        return path.encode()
    return archive_of(*sorted({Path(name).stem for name in map(str, job.input) if name.endswith(".plan")}))


def in_folder(folder: Path):
    """Work in ``folder`` for the length of a fixture; Snakemake and the rules change PATH and the working directory."""
    before, path = Path.cwd(), os.environ["PATH"]
    os.chdir(folder)
    yield
    os.chdir(before)
    os.environ["PATH"] = path


def followers(jobs):
    """For each job (by its outputs) the outputs of all jobs that depend on it."""
    made = {str(path): job for job in jobs for path in job.output}
    direct = {}
    for job in jobs:
        for path in job.input:
            if str(path) in made:
                direct.setdefault(made[str(path)], set()).add(job)
    found = {}

    def walk(job):
        if job not in found:
            found[job] = set()
            for next_job in direct.get(job, ()):
                found[job] |= {next_job} | walk(next_job)
        return found[job]

    return {job: walk(job) for job in jobs}
