"""Where the segments of a training end, what each asks for, and which waits for which."""

import math
from types import SimpleNamespace

import pytest

from workflow_scripts.errors import ConfigError
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.graph import Graph
from workflow_scripts.workflow.original import Original
from workflow_scripts.workflow.plan import job_hours, jobs_of
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


def test_each_waits_for_the_one_before():
    segments = Segments(run([64, 256], models=["pocket-1m"]))
    first, second = (
        SimpleNamespace(model="pocket-1m", step=step, keys=lambda: ["model", "step"]) for step in (64, 256)
    )
    last = SimpleNamespace(model="pocket-1m", keys=lambda: ["model"])
    assert segments.before(first) == []
    assert segments.before(second) == ["results/training/pocket-1m/segments/step64.json"]
    assert segments.before(last) == ["results/training/pocket-1m/segments/step256.json"]


def test_the_original_is_launched_as_the_run_says():
    neox = {"gpus": 16, "micro_batch": 4, "start_from": "hf/{model}/step0", "start_step": 0, "checkout": "gpt-neox"}
    original = Original(Graph(run("whole", models=["pocket-1m"], training={"neox": neox})))
    job = SimpleNamespace(model="pocket-1m")
    assert original.launch_arguments(job) == [
        *("--gpus", "16", "--micro-batch", "4", "--start-step", "0", "--start-from", "hf/pocket-1m/step0")
    ]
    assert original.checkout_arguments(job) == ["--checkout", "gpt-neox"]
    assert original.gpus_per_node() == 8
    assert original.prefix(job) == "results/data/pocket/standard/joined/pocket_text_document"


def test_shares_cover_the_training(model):
    assert sum(shares(segment_ends(model, 10)).values()) == pytest.approx(1.0)


def test_requests_and_the_plan_follow_the_length_of_a_segment():
    """A tenth of the training asks for the time of a tenth; the plan's longest job is the longest segment."""
    suite = {"suite": "pythia", "models": ["pythia-160m"], "steps": "last", "tasks": "all", "device": "cuda"}
    whole, cut = (run(segments, **suite) for segments in ("whole", ["100000..140000:10000"]))
    job = SimpleNamespace(model="pythia-160m", step="110000", keys=lambda: ["model", "step"])
    asked = JobResources(cut)
    assert asked.segment_minutes(job, 1) < JobResources(whole).minutes("retrain_arm")(job, 1)
    assert asked.minutes("retrain")(job, 1) < asked.segment_minutes(job, 1)
    model = cut.models[0]
    assert job_hours(cut, model) == pytest.approx(job_hours(whole, model) * 100 / 143)
    assert jobs_of(cut) == jobs_of(whole) + 5


def test_kernels_and_precision_of_a_training_are_choices_of_the_run():
    changed = {"training": {"kernels": "compiled"}, "overrides": {"pocket-1m": {"training_dtype": "bfloat16"}}}
    chosen = run("whole", models=["pocket-1m"], **changed)
    assert JobResources(chosen).training_arguments(SimpleNamespace(model="pocket-1m")) == ["--kernels", "compiled"]
    assert JobResources(run("whole")).training_arguments(SimpleNamespace(model="pocket-1m")) == []
    assert chosen.models[0].training_dtype == "bfloat16"
