"""Requests derived from models, against peaks that were measured and sizes that were computed on paper."""

import csv
import types

import pytest

from workflow_scripts.suite.registry import load_suite
from workflow_scripts.workflow import resources
from workflow_scripts.workflow.resources import JobResources, evaluate, fetch, gpus_for_training, retrain
from workflow_scripts.workflow.tools.check import load_run_file

POCKET, PYTHIA = load_suite("pocket"), load_suite("pythia")
# Largest resident size in MB and seconds on a busy two-core machine, from results/timings of a pocket run.
TRAINED = {"pocket-1m": (521.3, 518.8), "pocket-280k": (474.7, 173.7), "pocket-90k": (472.2, 53.3)}
SCORED = {"pocket-1m": (297.1, 32.8), "pocket-280k": (297.1, 32.8), "pocket-90k": (267.7, 6.0)}


@pytest.mark.parametrize("name", TRAINED)
def test_what_was_measured_fits_into_what_is_asked_for(name):
    model = POCKET.model(name)
    for need, (peak, seconds) in (
        (retrain(model, "cpu"), TRAINED[name]),
        (evaluate(model, 3 * 6e4, "cpu", "float32"), SCORED[name]),
    ):
        assert peak < need.memory_mb < 6 * peak
        assert seconds / 60 < need.minutes


def test_every_benchmark_file_of_a_run_here_fits(root):
    stages = {"train_model": "retrain", "score_checkpoint": "evaluate", "fetch_checkpoint": "fetch"}
    needs = JobResources(load_run_file(root / "config/config.yaml")).needs
    for rule, stage in stages.items():
        for path in (root / "results" / "timings" / rule).glob("pocket-*.tsv"):
            name = path.stem.split("-step")[0]
            if name not in needs:
                continue
            for row in csv.DictReader(path.read_text().splitlines(), delimiter="\t"):
                if row["max_rss"] not in ("-", "NA"):
                    assert float(row["max_rss"]) < needs[name][stage].memory_mb, path
                assert float(row["s"]) / 60 < needs[name][stage].minutes, path


def test_the_real_models_on_paper():
    # 16 bytes per parameter: 70.4e6 are 1.1 GB on one GPU, 11.8e9 are 190 GB on four of 72 GB.
    assert gpus_for_training(PYTHIA.model("pythia-70m")) == 1
    assert 4 <= gpus_for_training(PYTHIA.model("pythia-12b")) <= 8
    # 11,846,072,320 parameters in float32 are 47.4 GB; with logits of 16,384 tokens they fit into 72 GB.
    need = evaluate(PYTHIA.model("pythia-12b"), 1e6, "cuda", "float32")
    assert need.gpus == 1
    assert 47_384 < need.gpu_memory_mb < resources.GPU_MEMORY_MB
    # 16 bytes of each parameter over the GPUs, with the activations and logits of one micro batch beside them.
    small = retrain(PYTHIA.model("pythia-70m"), "cuda")
    assert small.gpus == 1
    assert 16 * 70.4 < small.gpu_memory_mb < resources.GPU_MEMORY_MB
    large = retrain(PYTHIA.model("pythia-12b"), "cuda")
    assert 16 * 11_846 / large.gpus < large.gpu_memory_mb < 16 * 11_846 / large.gpus + 100_000
    # One process holds 12 bytes of each parameter; float32 weights of 154 checkpoints and two moments lie on the disk.
    assert 12 * 11_846 < large.memory_mb < 12 * 11_846 + 100_000
    assert large.disk_mb == pytest.approx(11_846.07232 * (4 * 154 + 8), abs=1)
    # 2 bytes per parameter, masks and small files.
    assert 140 < fetch(PYTHIA.model("pythia-70m")).disk_mb < 175


def test_requests_grow_with_the_attempt_and_time_ends_at_a_day(root, monkeypatch):
    monkeypatch.chdir(root)
    asked = JobResources(load_run_file(root / "config/config.yaml"))
    wildcards = types.SimpleNamespace(model="pocket-1m")
    assert asked.memory("evaluate")(wildcards, 2) == 2 * asked.memory("evaluate")(wildcards, 1)
    assert asked.minutes("retrain")(wildcards, 99) == 1440
    assert asked.gpus("evaluate")(wildcards) == 0
    assert asked.engine_arguments() == asked.training_arguments(wildcards) == []


def test_a_run_on_gpus_asks_for_them_and_tells_the_programs(root, monkeypatch):
    monkeypatch.chdir(root)
    asked = JobResources(load_run_file(root / "config/runs/suite.yaml"))
    large = types.SimpleNamespace(model="pythia-12b")
    assert asked.gpus("evaluate")(large) == 1
    assert asked.gpus("fetch")(large) == 0
    assert asked.engine_arguments() == ["--device", "cuda"]
    assert asked.training_arguments(large) == ["--device", "cuda", "--parallel", "fsdp"]
