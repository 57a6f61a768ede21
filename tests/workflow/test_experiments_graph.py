"""The experiments in the graph: none by default, all of them on request, each job once."""


def test_the_default_run_makes_no_experiment(plan):
    assert not {"score_memorization", "train_arm", "count_terms"} & set(plan())


def test_all_experiments_of_the_pocket_suite(plan):
    jobs = plan(["experiments"], configfile="config/runs/experiments.yaml")
    # Six models at three steps; seven arms of one model; two data sets; one verdict each.
    assert jobs["score_memorization"] == 18
    assert jobs["make_patch"] == 7
    for name in ("train_arm", "publish_arm", "score_bias"):  # one rule for the arms that start together
        assert jobs[name] + jobs[f"{name}_2"] == 7
    assert jobs["count_terms"] == jobs["find_exposures"] == 2
    assert jobs["score_terms"] == 6
    assert jobs["train_model"] + jobs["train_model_2"] == 9  # two grids of checkpoints
    for name in ("memorization", "predictability", "term_frequency", "interventions", "seeds", "scaling"):
        assert jobs[name] == 1


def test_memorization_of_the_real_suite_needs_no_training(plan):
    jobs = plan(
        ["experiments"],
        configfile="config/runs/suite.yaml",
        models=["pythia-70m"],
        experiments=["memorization"],
        memorization={"steps": "23000..43000:20000", "rows_per_job": 8388608},
    )
    # 23,552,000 and 44,032,000 rows in portions of 8,388,608.
    assert jobs["score_memorization"] == 3 + 6
    assert jobs["fetch_checkpoint"] == 2
    assert "train_model" not in jobs
