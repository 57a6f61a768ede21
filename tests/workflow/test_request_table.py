"""The table of requests: the page shows what the program prints, and measured peaks stand beside what is asked for."""

import re

import pytest

from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.requests.cluster_site import Partition, Site
from workflow_scripts.workflow.requests.measured_requests import Measured
from workflow_scripts.workflow.requests.request_table import request_table
from workflow_scripts.workflow.resources import JobResources
from workflow_scripts.workflow.tools.check import DEFAULT

NODE = Partition("gpu", minutes=1440, memory_mb=1e6, cpus=64, gpus=8, nodes=1, gpu_memory_mb=80_000)


def table(*models, measured=(), **changes):
    settings = {"suite": "pythia", "models": list(models), "steps": "all", "device": "cuda", **changes}
    run = load_run({**load_yaml(DEFAULT), **settings})
    return request_table(run, JobResources(run, {each.key: each for each in measured}, Site(partitions=(NODE,))))


def test_the_page_shows_what_the_program_prints(root):
    shown = re.search(r"```text\n(.*?)\n```", (root / "docs" / "training-requests.md").read_text(), re.DOTALL)[1]
    assert shown.splitlines() == table("all", steps="last")


def test_what_was_measured_stands_beside_it():
    peaks = [
        Measured("evaluate", "pythia-70m", "cuda", 1e6, 3, 1900.0, 60.0),
        Measured("retrain", "pythia-70m", "cuda", 1e6, 1, 2100.0, 60.0),
    ]
    lines = table("pythia-70m", "pythia-160m", measured=peaks)
    evaluated, trained = [line.split() for line in lines if line.startswith("pythia-70m")]
    assert evaluated[4] == "1.9"
    assert trained[4] == "2.1"
    assert [line.split()[4] for line in lines if line.startswith("pythia-160m")] == ["-", "-"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"training": {"recompute_activations": False}}, "DOES NOT FIT"),
        ({"training": {"gpus": 8, "micro_batch": 1}}, "(activations recomputed)"),
    ],
)
def test_what_does_not_fit_says_so(changes, text):
    assert text in table("pythia-12b", **changes)[-1]
