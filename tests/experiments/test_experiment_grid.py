"""Which jobs the experiments of a run make, and what is refused before any job starts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.suite.arms import (
    Arm,
    build_declaration,
    iteration_at,
    load_declaration,
    saved_iterations,
    start_iteration,
)
from workflow_scripts.suite.experiment_files import EXPERIMENTS, TABLES, experiments_of
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.experiments import (
    arm_change,
    arm_function,
    arm_jobs,
    certificates,
    chosen_arms,
    row_jobs,
    term_tables,
    verdicts,
)
from workflow_scripts.workflow.training import kept_iterations

LENGTHS = {"prompt": 32, "continuation": 32, "every": 1, "rows_per_job": 2000}
PYTHIA, POCKET = load_suite("pythia"), load_suite("pocket")


@pytest.fixture
def grid(root):
    """Function that gives the default run with changed settings."""

    def make(**changes):
        settings = load_yaml(root / "config" / "config.yaml")
        return load_run({**settings, **changes})

    return make


def test_certificates_are_of_the_last_measured_step_and_ask_nothing_of_other_runs(grid):
    asked = certificates(grid(experiments=["memorization"]))
    assert asked
    assert {path.split("/")[4] for path in asked} == {"step600"}
    # Models with other checkpoints than the default's measured steps are no reason to refuse a run without them.
    assert certificates(grid(memorization={**LENGTHS, "steps": [17]})) == []


def test_the_default_run_has_only_traces(grid):
    assert verdicts(grid(experiments=["traces"])) == ["results/runs/pocket/tables/verdict_traces.json"]
    assert row_jobs(grid()) == []


def test_a_suite_or_a_run_without_texts_traces_nothing(grid):
    books = {"suite": "books", "models": "all", "steps": "all", "tasks": "all"}
    assert experiments_of(grid(**books, experiments=["traces"])) == ()
    assert experiments_of(grid(models=[], experiments=["traces"], checkpoints={"source": "hub"})) == ()


def test_the_run_of_all_experiments_has_a_verdict_for_each(grid, root):
    settings = load_yaml(root / "config" / "runs" / "experiments.yaml")
    found = grid(**settings)
    assert experiments_of(found) == EXPERIMENTS
    assert set(TABLES) == set(EXPERIMENTS)
    assert verdicts(found) == [f"results/runs/experiments/tables/verdict_{name}.json" for name in EXPERIMENTS]


def test_predictability_needs_memorization(grid):
    with pytest.raises(ConfigError, match="request both"):
        experiments_of(grid(experiments=["predictability"]))


def test_interventions_need_training(grid):
    checkpoints = {"source": "mirror", "location": "results/mirror"}
    with pytest.raises(ConfigError, match="retrain"):
        experiments_of(grid(experiments=["interventions"], checkpoints=checkpoints))


def test_unknown_experiments_arms_and_declarations_are_refused(grid):
    with pytest.raises(UnknownNameError, match="did you mean 'memorization'"):
        experiments_of(grid(experiments=["memorisation"]))
    with pytest.raises(UnknownNameError, match="did you mean 'swap-7'"):
        chosen_arms(grid(interventions={"declaration": "pronouns", "models": [], "arms": ["swap-8"]}))
    with pytest.raises(UnknownNameError, match="did you mean 'pronouns'"):
        chosen_arms(grid(interventions={"declaration": "pronoun", "models": [], "arms": "all"}))


def test_training_keeps_the_states_that_arms_may_start_from(grid):
    """For every model, whichever arms and models a run chooses: these must not change what a baseline is."""
    few = {"declaration": "pronouns", "models": [], "arms": ["identity-7"]}
    for run in (grid(), grid(interventions=few), grid(experiments=["interventions"])):
        assert {kept_iterations(run, model) for model in run.models} == {(474, 558)}


def test_arms_that_start_together_are_one_rule(grid):
    """Every declared arm has a job, whether the run chooses it or not."""
    few = {"declaration": "pronouns", "models": ["pocket-1m"], "arms": ["identity-7"]}
    jobs = arm_jobs(grid(experiments=["interventions"], interventions=few))
    assert [(job.start, job.iterations[0], job.iterations[-1]) for job in jobs] == [(474, 474, 600), (558, 558, 600)]
    assert sorted(name for job in jobs for name in job.arms) == sorted(load_declaration("pronouns").arms)
    assert all(job.revisions[-1] == "main" for job in jobs)


@pytest.mark.parametrize(("percent", "step"), [(93, 133000), (79, 113000), (100, 143000), (0, 0)])
def test_shares_of_the_real_training_are_published_steps(percent, step):
    assert iteration_at(PYTHIA.model("pythia-6.9b-deduped"), percent) == step


def test_v0_models_start_at_the_papers_trainer_steps():
    model = PYTHIA.model("pythia-1.4b-deduped-v0")
    arms = load_declaration("pronouns").arms
    assert start_iteration(model, arms["feminine-7"]) == 66500
    assert start_iteration(model, arms["feminine-21"]) == 56500


def test_arms_share_their_grid():
    arms = load_declaration("pronouns").arms
    model = POCKET.model("pocket-1m")
    long, short = (saved_iterations(model, arms[name]) for name in ("identity-21", "feminine-7"))
    assert set(short) < set(long)
    assert long[-1] == short[-1] == model.train_iterations


def test_an_arm_without_rest_is_refused():
    with pytest.raises(ConfigError, match="nothing to train"):
        start_iteration(POCKET.model("pocket-1m"), Arm("late", "swap", 99.99))


def declared(**arm):
    return build_declaration({"declaration": "mine", "arms": {"a": arm}})


def test_an_arm_may_start_at_any_step():
    arm = declared(direction="identity", start_step=301).arm("a")
    model = POCKET.model("pocket-1m")
    assert start_iteration(model, arm) == 301
    assert saved_iterations(model, arm)[0] == 301
    assert set(saved_iterations(model, arm)[1:]) >= set(saved_iterations(model, Arm("b", "swap", 93))[1:])
    assert start_iteration(PYTHIA.model("pythia-1.4b-deduped-v0"), Arm("c", "swap", start_step=3000)) == 1500


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"direction": "identity"}, "exactly one of"),
        ({"direction": "identity", "start_step": 4, "start_percent": 50}, "exactly one of"),
        ({"direction": "function", "start_step": 4}, "and direction: function must be used together"),
        (
            {"direction": "swap", "function": "repeat_late", "start_step": 4},
            "and direction: function must be used together",
        ),
        ({"direction": "swap", "start_step": 4}, "needs pairs"),
    ],
)
def test_contradictory_arms_are_refused(arm, message):
    with pytest.raises(ConfigError, match=message):
        declared(**arm)


def test_a_function_without_a_file_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'repeat_late'"):
        declared(direction="function", function="repeat_lat", start_step=4)


def test_a_function_is_an_input_of_its_patch_and_only_of_that(grid):
    found = grid(interventions={"declaration": "repeats", "models": ["pocket-90k"], "arms": "all"})
    wildcards = SimpleNamespace(model="pocket-90k", arm="repeats-21")
    assert arm_function(found)(wildcards) == ["config/interventions/repeat_late.py"]
    assert arm_change(found)(wildcards) == ["--function", "repeat_late"]
    other = SimpleNamespace(model="pocket-90k", arm="identity-21")
    assert arm_function(found)(other) == []
    assert arm_change(found)(other) == ["--direction", "identity"]


def test_certificates_are_of_the_last_step_in_the_same_ranges(grid):
    found = grid(experiments=["memorization"], models=["pocket-90k"], memorization={"steps": "256, last"} | LENGTHS)
    assert [path.rpartition("/")[2] for path in certificates(found)] == [
        "generation-0-2000.json",
        "generation-2000-4000.json",
        "generation-4000-4800.json",
    ]
    assert certificates(grid()) == []


def test_terms_are_counted_in_ranges_up_to_the_last_asked_step(grid):
    found = grid(
        experiments=["term_frequency"],
        models=["pocket-90k"],
        term_frequency={"terms": "pocket", "steps": "256, 512", "rows_per_job": 3000},
    )
    paths = [path for path in term_tables(found) if "/terms/" in path]
    folder = "results/experiments/terms/pocket/standard"
    assert paths == [f"{folder}/rows-0-3000.parquet", f"{folder}/rows-3000-4096.parquet"]
