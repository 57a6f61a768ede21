"""Every output is a node: a deleted one is made again by its own job, and only what follows from it runs after that."""

import pytest

from tests.workflow.finished_run import FinishedRun, followers, in_folder

RUN = {
    "run": "small",
    "models": ["pocket-90k", "pocket-90k-weight-seed1"],
    "steps": [0, 256, 384, 600],
    "shots": [0, 5],
    "experiments": [
        "memorization",
        "predictability",
        "term_frequency",
        "interventions",
        "seeds",
        "scaling",
        "traces",
        "dynamics",
    ],
    "interventions": {"models": ["pocket-90k"], "arms": ["identity-7", "feminine-7"]},
    "memorization": {"steps": "256, last", "rows_per_job": 2400},
    "dynamics": {"steps": [0, 600]},
}


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    for _ in in_folder(folder):
        yield FinishedRun(folder, root, **RUN)


@pytest.mark.slow
def test_a_deleted_output_of_any_rule_is_made_again_by_its_own_job(finished):
    assert finished.jobs() == []
    jobs = finished.jobs(forceall=True)
    after, seen = followers(jobs), set()
    for job in jobs:
        for name, output in zip(job.output.keys() or range(len(job.output)), job.output, strict=False):
            if (job.rule.name, name) in seen:
                continue  # one job of each rule stands for the others: they differ by wildcards alone
            seen.add((job.rule.name, name))
            planned = finished.rebuilt_without(str(output))
            own = [outputs for rule, outputs in planned if rule == job.rule.name and str(output) in outputs]
            assert len(own) == 1, f"{output} ({job.rule.name}) is deleted and nothing makes it again"
            allowed = {frozenset(map(str, each.output)) for each in after[job]} | {frozenset(own[0])}
            extra = [rule for rule, outputs in planned if frozenset(outputs) not in allowed and outputs]
            assert not extra, f"{output} is deleted and jobs that do not depend on it run: {extra}"
    assert len({rule for rule, _ in seen}) > 30


@pytest.mark.parametrize(
    ("change", "unchanged"),
    [
        ({"interventions": {"models": ["pocket-90k"], "arms": ["identity-7"]}}, "train"),
        ({"tasks": ["pocket_agreement", "pocket_facts"]}, "score"),
        ({"steps": [0, 256, 600]}, "score"),
        ({"figures": ["scores_over_training"]}, "draw"),
        ({"shots": [0]}, "score"),
        ({"experiments": ["seeds"]}, "score"),
        ({"models": ["pocket-90k"], "experiments": []}, "score"),
    ],
    ids=["arms", "tasks", "steps", "figures", "shots", "experiments", "models"],
)
def test_fewer_of_anything_reruns_nothing_but_what_joins_it(finished, change, unchanged):
    """Tables, figures and the report are made of what the run holds; everything that computes stays as it is."""
    joining = {"run_settings", "collect_scores", "audit_scores", "crosscheck", "draw_figure", "build_report", "all"}
    joining |= {
        "memorization",
        "predictability",
        "term_frequency",
        "interventions",
        "seeds",
        "scaling",
        "traces",
        "dynamics",
    }
    rebuilt = set(finished.rebuilt(**change))
    assert rebuilt <= joining, rebuilt - joining
    assert not [name for name in rebuilt if name.startswith(unchanged) and name != "draw_figure"]


def test_another_seed_of_the_examples_touches_no_plan_without_examples(finished):
    planned = finished.jobs(evaluation={"fewshot_seed": 7})
    plans = [str(path) for job in planned if job.rule.name == "plan_evaluation" for path in job.output]
    assert plans
    assert not [path for path in plans if "/0-shot" in path]


def test_a_changed_value_can_be_read_in_the_plan(finished):
    """No word that a job is given grows with the run; the longest of them is printed when it changes."""
    for job in finished.jobs(forceall=True, every=True):
        for name, value in job.params.items():
            words = value if isinstance(value, list | tuple) else [value]
            longest = max(map(len, map(str, words)), default=0)
            assert longest <= 400, f"{job.rule.name}: params.{name} has a word of {longest} characters"
