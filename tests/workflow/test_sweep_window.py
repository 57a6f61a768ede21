"""The window of a sweep: never more on the disk than the budget, and no job waits for a later one."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import ConfigError, MissingInputError
from workflow_scripts.suite.experiment_files import experiments_of
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.checkpoints import leave_out_defects
from workflow_scripts.workflow.sweep import bisection_order, checkpoint_bytes, plan_sweep, window

QUICK = settings(deadline=None, max_examples=150)
SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=4)


@st.composite
def grids(draw):
    """Sizes and steps of a few models, some kept checkpoints, and a budget that is large enough."""
    sizes = {f"m{i}": size for i, size in enumerate(draw(SIZES))}
    steps = {
        name: sorted(draw(st.sets(st.integers(0, 143_000), min_size=1, max_size=25)))
        for name in draw(st.permutations(list(sizes)))
    }
    every = [(name, step) for name, wanted in steps.items() for step in wanted]
    kept = draw(st.sets(st.sampled_from(every), max_size=3))
    budget = sum(sizes[name] for name, _ in kept) + max(sizes.values()) + draw(st.integers(0, 200))
    return sizes, steps, kept, budget


def run_greedily(sizes, waits, kept, budget, seed):
    """Fetch and release in random order, as early as the waits allow; returns the order of the fetches."""
    pick, waiting, disk, gone, order = random.Random(seed), dict(waits), set(), set(), []
    while waiting or disk - kept:
        ready = [key for key, before in waiting.items() if set(before) <= gone]
        held = sorted(disk - kept)
        assert ready or held, f"nothing can go on: {waiting}"
        choice = pick.choice([("fetch", key) for key in ready] + [("release", key) for key in held])
        if choice[0] == "fetch":
            del waiting[choice[1]]
            disk.add(choice[1])
            order.append(choice[1])
        else:
            disk.remove(choice[1])
            gone.add(choice[1])
        assert sum(sizes[name] for name, _ in disk) <= budget
    return order


@QUICK
@given(grids(), st.integers(0, 10**6))
def test_whatever_the_scheduler_does_the_budget_holds_and_the_sweep_ends(grid, seed):
    sizes, steps, kept, budget = grid
    waits = window(sizes, steps, kept, budget)
    assert set(waits) == {(name, step) for name, wanted in steps.items() for step in wanted}
    assert len(run_greedily(sizes, waits, kept, budget, seed)) == len(waits)


@QUICK
@given(grids())
def test_no_checkpoint_waits_for_a_later_or_a_kept_one(grid):
    sizes, steps, kept, budget = grid
    waits = window(sizes, steps, kept, budget)
    order = [(name, step) for name, wanted in steps.items() for step in bisection_order(wanted)]
    for number, key in enumerate(order):
        assert set(waits[key]) <= set(order[:number]) - kept


@QUICK
@given(st.integers(1, 12), st.sets(st.integers(0, 10**5), min_size=1, max_size=40))
def test_with_one_model_fetch_i_waits_for_result_i_minus_w(slots, steps):
    waits = window({"m": 7}, {"m": sorted(steps)}, (), 7 * slots + 3)
    order = bisection_order(sorted(steps))
    expected = {("m", step): (("m", order[i - slots]),) if i >= slots else () for i, step in enumerate(order)}
    assert waits == expected


@QUICK
@given(st.sets(st.integers(0, 143_000), min_size=1, max_size=60))
def test_bisection_visits_every_step_once_ends_first_and_halves_the_gaps(steps):
    order = bisection_order(sorted(steps))
    assert sorted(order) == sorted(steps)
    assert order[:2] == sorted({min(steps), max(steps)}, reverse=True)


def test_the_suite_is_a_curve_at_any_interruption():
    steps = load_suite("pythia").model("pythia-70m").steps
    first = sorted(bisection_order(steps)[:9])
    assert first[0] == 0
    assert first[-1] == 143_000
    assert all(later <= 12 * max(earlier, 1) for earlier, later in itertools.pairwise(first[1:]))


def run_with(root, **checkpoints):
    config = load_yaml(root / "config/config.yaml")
    return leave_out_defects(load_run({**config, "checkpoints": {**config["checkpoints"], **checkpoints}}))


def test_no_budget_no_window(root):
    sweep = plan_sweep(run_with(root))
    assert not sweep.waits
    assert not sweep.kept


def test_kept_checkpoints_are_those_named_and_the_one_for_crosschecks(root):
    sweep = plan_sweep(run_with(root, disk_budget_gb=1, keep=["last", 16]))
    assert ("pocket-280k", 600) in sweep.kept
    assert ("pocket-280k", 16) in sweep.kept
    assert plan_sweep(run_with(root, disk_budget_gb=1)).kept == {("pocket-90k", 600)}


def test_checkpoints_whose_memorization_is_measured_are_kept(root):
    config = load_yaml(root / "config/config.yaml")
    settings = {
        **config,
        "checkpoints": {**config["checkpoints"], "disk_budget_gb": 1},
        "experiments": ["memorization"],
        "memorization": {**(config.get("memorization") or {}), "steps": [16]},
    }
    kept = plan_sweep(load_run(settings)).kept
    assert {(model, 16) for model in ("pocket-90k", "pocket-280k")} <= kept
    assert len(kept - {("pocket-90k", 600)}) == len({model for model, step in kept if step == 16})


def test_checkpoints_of_traced_texts_are_kept_where_the_run_names_the_texts(root):
    config = load_yaml(root / "config/config.yaml")
    budget = {**config["checkpoints"], "disk_budget_gb": 1}
    named = {**config, "checkpoints": budget, "traces": {"declaration": "pocket", "steps": [16], "models": None}}
    kept = plan_sweep(load_run(named)).kept
    assert kept - {("pocket-90k", 600)} == {(model, 16) for model in ("pocket-90k", "pocket-280k", "pocket-1m")}
    by_default = load_run({**config, "checkpoints": budget})
    assert plan_sweep(by_default).kept == {("pocket-90k", 600)}
    assert experiments_of(by_default) == ()


def test_a_budget_that_is_too_small_says_what_it_needs(root):
    with pytest.raises(ConfigError, match=r"one checkpoint of pocket-\S+ takes 0\.0\d+ GB; raise the budget"):
        plan_sweep(run_with(root, disk_budget_gb=0.001))
    with pytest.raises(ConfigError, match="no checkpoint at step 7"):
        plan_sweep(run_with(root, disk_budget_gb=1, keep=[7]))


def test_the_size_of_a_checkpoint_covers_the_published_file():
    # The Hub shows 166 MB for model.safetensors of EleutherAI/pythia-70m; the masks make 25 MB of it.
    assert 166_000_000 < checkpoint_bytes(load_suite("pythia").model("pythia-70m")) < 180_000_000


def test_known_defects_are_left_out_by_name(root, tmp_path):
    table = tmp_path / "defects.tsv"
    table.write_text("model\trevision\tkind\tdetail\npocket-90k\tstep16\tduplicate\tsame as step4\n")
    run = run_with(root, defects=str(table))
    assert 16 not in run.steps["pocket-90k"]
    assert 16 in run.steps["pocket-280k"]
    assert run.left_out == (f"pocket-90k step16: excluded, {table} lists it: duplicate",)
    with pytest.raises(MissingInputError, match="no such table"):
        run_with(root, defects=str(tmp_path / "other.tsv"))
