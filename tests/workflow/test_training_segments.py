"""Where the segments of a training end, and what each asks for."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.errors import ConfigError
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.plan import chain_hours, jobs_of
from workflow_scripts.workflow.requests.cluster_site import Partition, Site
from workflow_scripts.workflow.resources import JobResources
from workflow_scripts.workflow.tools.check import DEFAULT
from workflow_scripts.workflow.training_segments import Segments, segment_ends, shares

GRID = [2**k for k in range(10)] + [1000 * k for k in range(1, 144)]


@pytest.fixture
def model():
    return load_suite("pythia").model("pythia-70m")


def run(segments, **changes):
    return load_run({**load_yaml(DEFAULT), "training": {"segments": segments}, **changes})


def test_whole_is_one_segment(model):
    assert segment_ends(model, "whole") == (143_000,)


@pytest.mark.parametrize("number", [1, 10, 20, 153, 999])
def test_a_number_of_checkpoints_per_segment(model, number):
    ends = segment_ends(model, number)
    assert ends[-1] == 143_000
    assert len(ends) == math.ceil(153 / number)
    places = [GRID.index(end) for end in ends]
    assert all(later - earlier == number for earlier, later in zip([-1, *places], places[:-1], strict=False))


def test_steps_are_hub_steps_and_the_last_one_is_always_there(model):
    assert segment_ends(model, "0, 50000..100000:50000") == (50_000, 100_000, 143_000)
    v0 = load_suite("pythia").model("pythia-160m-v0")
    assert v0.hub_steps_per_iteration == 2
    assert segment_ends(v0, [71_000]) == (35_500, 71_500)


@pytest.mark.parametrize(("wanted", "message"), [(0, "segments is 0"), (True, "not a step"), ([7], "no checkpoint")])
def test_impossible_segments_are_refused(model, wanted, message):
    with pytest.raises(ConfigError, match=message):
        segment_ends(model, wanted)


@given(st.floats(1e-6, 1.5))
def test_automatic_segments_are_as_long_as_they_may_be(share):
    """None is longer than its share unless it is one checkpoint, and no two neighbours would fit into one."""
    ends = segment_ends(load_suite("pythia").model("pythia-70m"), "auto", share)
    assert ends[-1] == 143_000
    assert set(ends) <= set(GRID)
    starts = (0, *ends)
    for start, end in zip(starts, ends, strict=False):
        assert end - start <= share * 143_000 or not [step for step in GRID if start < step < end]
    for start, end in zip(starts, ends[:-1], strict=False):
        following = GRID[GRID.index(end) + 1]
        assert following - start > share * 143_000


def test_segments_follow_the_longest_job_of_the_site_unless_the_run_says_otherwise():
    """70m takes 54 hours on a GPU of 400e12 FLOP per second: half a day at a time where a job may take a day."""
    suite = {"suite": "pythia", "models": ["pythia-70m"], "steps": "last", "tasks": "all", "device": "cuda"}
    one_day, five = (Site(partitions=(Partition("gpu", 1440 * days, gpus=1, nodes=1),)) for days in (1, 5))
    assert Segments(run("auto", **suite), one_day).number("pythia-70m") == 5
    assert Segments(run("auto", **suite), five).number("pythia-70m") == 1
    assert Segments(run("whole", **suite), one_day).number("pythia-70m") == 1
    asked = JobResources(run("auto", **suite), {}, one_day)
    assert max(asked.training_minutes(end)(SimpleNamespace(model="pythia-70m"), 1) for end in GRID) <= 1440
    assert Segments(load_run(load_yaml(DEFAULT))).longest_share("pocket-1m") == 1.0


def test_shares_cover_the_training(model):
    assert sum(shares(segment_ends(model, 10)).values()) == pytest.approx(1.0)


def test_requests_and_the_plan_follow_the_length_of_a_segment():
    """A tenth of the training asks for the time of a tenth, and all of them take as long as the whole."""
    suite = {"suite": "pythia", "models": ["pythia-160m"], "steps": "last", "tasks": "all", "device": "cuda"}
    whole, cut = (run(segments, **suite) for segments in ("whole", ["100000..140000:10000"]))
    job = SimpleNamespace(model="pythia-160m")
    asked = JobResources(cut)
    assert asked.training_minutes(110_000)(job, 1) < JobResources(whole).training_minutes(143_000)(job, 1)
    assert asked.training_minutes(143_000)(job, 1) < asked.training_minutes(110_000)(job, 1)
    model = cut.models[0]
    assert chain_hours(cut, model) == pytest.approx(chain_hours(whole, model)), "one segment after the other"
    assert jobs_of(cut) == jobs_of(whole) + 5


def test_kernels_and_precision_of_a_training_are_choices_of_the_run():
    changed = {"training": {"kernels": "compiled"}, "overrides": {"pocket-1m": {"training_dtype": "bfloat16"}}}
    chosen = run("whole", models=["pocket-1m"], **changed)
    assert JobResources(chosen).training_arguments(SimpleNamespace(model="pocket-1m")) == ["--kernels", "compiled"]
    assert JobResources(run("whole")).training_arguments(SimpleNamespace(model="pocket-1m")) == []
    assert chosen.models[0].training_dtype == "bfloat16"
