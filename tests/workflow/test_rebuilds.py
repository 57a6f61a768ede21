"""After an edit exactly the rules that depend on it run again, and nothing for what changes no result.

A finished run is fabricated in an empty folder: every output exists, and Snakemake is told so by its touch executor.
Then each edit is made, planned and taken back.
"""

import os
import shutil
import time
import warnings
from collections import Counter
from pathlib import Path

import pytest
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

RUN = {
    "run": "small",
    "models": ["pocket-90k"],
    "steps": [0, 1],
    "shots": [0],
    "tasks": ["pocket_agreement"],
    "figures": ["scores_over_training", "loss_over_training"],
}
SHOW = {"draw_figure": 2, "build_report": 1, "all": 1}
# One figure shows scores, the other training logs.
COLLECT = {"run_settings": 1, "collect_scores": 1, "audit_scores": 1, **SHOW, "draw_figure": 1}
SCORE_ALL = {"plan_evaluation": 1, "score_checkpoint": 2, **COLLECT}
TRAIN = {"train_model": 1, "publish_model": 1, "fetch_checkpoint": 2, "score_checkpoint": 2}


class FinishedRun:
    """A folder in which everything of ``RUN`` is made, for edits and plans."""

    def __init__(self, folder, root):
        self.folder = folder
        for name in ("config", "rules", "workflow_scripts", "envs"):
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(root / "Snakefile", folder / "Snakefile")
        # Planned in this process, whose package is that of the checkout; rules/checkout.smk looks at this file.
        (folder / "workflow_scripts/__init__.py").unlink()
        (folder / "workflow_scripts/__init__.py").symlink_to(root / "workflow_scripts/__init__.py")
        jobs = self.jobs(forceall=True)
        for path in {str(path) for job in jobs for path in job.output}:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(path)
        self.jobs(executor="touch", forceall=True)

    def jobs(self, executor="dryrun", forceall=False, cores=2, resources=None, **config):
        """Jobs that Snakemake would run."""
        with warnings.catch_warnings(), SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            warnings.simplefilter("ignore")
            workflow = api.workflow(
                resource_settings=ResourceSettings(cores=cores, overwrite_resources=resources or {}),
                config_settings=ConfigSettings(config={**RUN, **config}),
                snakefile=self.folder / "Snakefile",
                workdir=self.folder,
            )
            dag = workflow.dag(DAGSettings(forceall=forceall))
            dag.execute_workflow(executor=executor)
            graph = workflow._workflow.dag  # a private attribute, as in conftest.py; Snakemake is pinned
            return [job for job in graph.jobs if graph.needrun(job)]

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


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    before, path = Path.cwd(), os.environ["PATH"]
    folder = tmp_path_factory.mktemp("finished")
    os.chdir(folder)
    yield FinishedRun(folder, root)
    os.chdir(before)
    os.environ["PATH"] = path


def test_nothing_is_left_to_do(finished):
    assert finished.rebuilt() == {}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("workflow_scripts/training/trainer.py", "import", "# A comment.\nimport"),
        ("workflow_scripts/evaluation/scoring.py", "LOGGER = ", "LOUDER = "),
        ("workflow_scripts/checkpoints/fetch.py", "import", "import sys\nimport"),
        ("envs/base.lock", "==", "==9"),
        ("rules/training.smk", "rule train_model", "# A comment.\nrule train_model"),
        ("rules/evaluation.smk", "rule score_checkpoint", "# A comment.\nrule score_checkpoint"),
        ("config/config.yaml", "run: pocket", "# A comment.\nrun: pocket"),
        ("rules/training.smk", 'runtime=RESOURCES.minutes("retrain")', "runtime=7"),
    ],
    ids=["code-training", "code-scoring", "code-fetching", "lock", "comment", "comment-2", "comment-3", "resources"],
)
def test_nothing_runs_again_for_code_of_expensive_stages_locks_comments_and_resources(finished, name, old, new):
    assert finished.rebuilt_after(name, old, new) == {}


def test_nothing_runs_again_for_values_of_a_profile(finished):
    asked = {"mem_mb": 99, "gpu": 1, "checkpoints_per_process": 4}
    assert finished.rebuilt(cores=16, resources={"score_checkpoint": asked}) == {}


def test_another_name_of_the_run_scores_nothing_again(finished):
    rebuilt = finished.rebuilt(run="other")
    assert "collect_scores" in rebuilt
    assert not {"score_checkpoint", "plan_evaluation", "fetch_checkpoint"} & set(rebuilt)


def test_nothing_runs_again_for_measured_requests(finished):
    table = finished.folder / "results" / "requests.tsv"
    columns = ("stage", "model", "device", "work", "jobs", "peak_mb", "seconds")
    table.write_text("\t".join(columns) + "\nevaluate\tpocket-90k\tcpu\t1000\t1\t5000\t60000\n")
    try:
        assert finished.rebuilt() == {}
    finally:
        table.unlink()


def test_a_figures_style_draws_figures_and_report(finished):
    assert finished.rebuilt_after("workflow_scripts/report/style.py", "import", "# A comment.\nimport") == SHOW


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"tasks": ["pocket_agreement", "pocket_facts"]}, {**SCORE_ALL, "crosscheck": 1}),
        ({"evaluation": {"renewal": 2}}, SCORE_ALL),
        ({"steps": [0, 1, 2]}, {"fetch_checkpoint": 1, "score_checkpoint": 1, **COLLECT, "crosscheck": 1}),
        ({"models": ["pocket-90k", "pocket-280k"]}, {**TRAIN, **COLLECT, **SHOW}),
        ({"overrides": {"pocket-90k": {"learning_rate": 0.01}}}, {**TRAIN, **COLLECT, **SHOW, "crosscheck": 1}),
        ({"figures": ["scores_over_training"]}, COLLECT),
    ],
    ids=["task", "renewal", "step", "model", "learning-rate", "one-figure-less"],
)
def test_exactly_what_depends_on_a_choice_runs_again(finished, change, expected):
    assert finished.rebuilt(**change) == expected
