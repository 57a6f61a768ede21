"""After an edit exactly the rules that depend on it run again, and nothing for what changes no result.

A finished run is fabricated in an empty folder: every output exists, and Snakemake is told so by its touch executor.
Then each edit is made, planned and taken back.
"""

import contextlib
import os

import pytest

from tests.workflow.finished_run import RUN, FinishedRun, archive_of, in_folder
from workflow_scripts.suite.models import CHECKPOINT_FILES

SHOW = {"draw_figure": 2, "build_report": 1, "all": 1}
# One figure shows scores, the other training logs.
COLLECT = {"run_settings": 1, "collect_scores": 1, "audit_scores": 1, **SHOW, "draw_figure": 1}
SCORE_ALL = {"plan_evaluation": 1, "score_checkpoint": 2, **COLLECT}
TRAIN = {"write_recipe": 1, "train_model": 1, "publish_model": 1, "fetch_checkpoint": 2, "score_checkpoint": 2}


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    for _ in in_folder(folder):
        yield FinishedRun(folder, root, **RUN)


def test_nothing_is_left_to_do(finished):
    assert finished.rebuilt() == {}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("workflow_scripts/training/run/trainer.py", "import", "# A comment.\nimport"),
        ("workflow_scripts/evaluation/scoring/score_plan.py", "LOGGER = ", "LOUDER = "),
        ("workflow_scripts/checkpoints/fetch.py", "import", "import sys\nimport"),
        ("envs/base.lock", "==", "==9"),
        ("rules/training.smk", "rule write_recipe", "# A comment.\nrule write_recipe"),
        ("rules/evaluation.smk", "rule score_checkpoint", "# A comment.\nrule score_checkpoint"),
        ("config/config.yaml", "run: pocket", "# A comment.\nrun: pocket"),
        ("rules/training.smk", "runtime=RESOURCES.training_minutes(JOB.end)", "runtime=7"),
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
    assert finished.rebuilt_after("workflow_scripts/report/drawing/style.py", "import", "# A comment.\nimport") == SHOW


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


# Jobs that run again because the run itself, and so its table, is another one; none of them is expensive.
AGGREGATES = {"run_settings", "collect_scores", "audit_scores", "draw_figure", "build_report", "all", "crosscheck"}


@pytest.mark.parametrize(
    "change",
    [
        {"steps": [0]},
        {"evaluation": {"fewshot_seed": 7}},
        {"figures": ["scores_over_training"], "steps": [1]},
        {"models": []},
    ],
    ids=["fewer-steps", "fewshot-seed", "fewer-figures-and-steps", "no-model"],
)
def test_less_of_a_run_or_another_draw_of_examples_computes_nothing(finished, change):
    assert not finished.rebuilt(**change).keys() - AGGREGATES - {"import_published"}


@contextlib.contextmanager
def written(folder, files):
    """``files`` by path with other contents, and the times they had; as before afterwards."""
    before = {folder / path: ((folder / path).read_bytes(), (folder / path).stat()) for path in files}
    for path, content in files.items():
        (folder / path).write_bytes(content)
    for path, (_, facts) in before.items():
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    try:
        yield
    finally:
        for path, (content, facts) in before.items():
            path.write_bytes(content)
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_a_task_that_results_lack_is_scored_though_its_plan_is_old(finished):
    """Another run made the plan before these results: no time and no missing file says that the task is lacking."""
    plan = finished.folder / "results/plans/pocket/0-shot/pocket_facts.plan"
    scores = [f"results/scores/pocket-90k/step{step}/0-shot.json.loglikelihoods.npz" for step in (0, 1)]
    plan.write_text("older")
    os.utime(plan, (1, 1))
    both = {"tasks": ["pocket_agreement", "pocket_facts"]}
    lacking = archive_of("pocket_agreement")
    try:
        with written(finished.folder, {scores[0]: lacking, scores[1]: lacking}):
            assert finished.rebuilt() == {}
            assert finished.rebuilt(**both)["score_checkpoint"] == 2
    finally:
        plan.unlink()


FILES_OF = {
    "fetch_checkpoint": [
        *(f"results/checkpoints/pocket-90k/step1/{name}" for name in CHECKPOINT_FILES),
        "results/checkpoints/pocket-90k/step1/sha256.txt",
        "results/checkpoints/pocket-90k/step1/fetched.json",
    ],
    "plan_evaluation": ["results/plans/pocket/0-shot/pocket_agreement.plan"],
    "score_checkpoint": [
        "results/scores/pocket-90k/step1/0-shot.json",
        "results/scores/pocket-90k/step1/0-shot.json.loglikelihoods.npz",
    ],
    "collect_scores": ["results/runs/small/tables/scores.parquet", "results/runs/small/tables/scores.csv"],
    "audit_scores": ["results/runs/small/tables/score_defects.tsv"],
    "crosscheck": ["results/runs/small/tables/crosscheck.json"],
}


@pytest.mark.parametrize(("rule", "path"), [(rule, path) for rule, paths in FILES_OF.items() for path in paths])
def test_a_deleted_file_is_made_by_its_own_job(finished, rule, path):
    """And by it alone: asked for by name, exactly the one job of its rule runs; with the whole run, that job too."""
    place, hidden = finished.folder / path, finished.folder / "hidden"
    place.replace(hidden)
    try:
        assert finished.rebuilt(targets=[path]) == {rule: 1}
        assert finished.rebuilt()[rule] == 1, "the whole run takes notice"
    finally:
        hidden.replace(place)
