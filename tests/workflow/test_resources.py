"""Requests derived from models, against peaks that were measured and sizes that were computed on paper."""

import csv
import types

import pytest

from workflow_scripts.suite.registry import load_suite
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.requests.cluster_site import Partition, Site
from workflow_scripts.workflow.requests.training_requests import GPU_MEMORY_MB, USABLE
from workflow_scripts.workflow.resources import JobResources, Need, evaluate, fetch, retrain, signal_seconds
from workflow_scripts.workflow.tools.check import DEFAULT, load_run_file

POCKET, PYTHIA = load_suite("pocket"), load_suite("pythia")
NODE = Partition("gpu", minutes=1440, memory_mb=1_000_000, cpus=64, gpus=8, nodes=1, per_node=8, gpu_memory_mb=80_000)
SITE = Site(partitions=(Partition("cpu", minutes=1440, memory_mb=64_000, cpus=8), NODE))
# Largest resident size in MB and seconds on a busy two-core machine, from results/timings of a pocket run.
TRAINED = {"pocket-1m": (521.3, 518.8), "pocket-280k": (474.7, 173.7), "pocket-90k": (472.2, 53.3)}
SCORED = {"pocket-1m": (297.1, 32.8), "pocket-280k": (297.1, 32.8), "pocket-90k": (267.7, 6.0)}


def run_of(*models, suite="pythia", **changes):
    settings = {"suite": suite, "models": list(models), "steps": "last", "tasks": "all", "device": "cuda", **changes}
    return load_run({**load_yaml(DEFAULT), **settings})


def trained(name, site=SITE, **changes):
    run = run_of(name, **changes)
    return retrain(run, run.models[0], site)


@pytest.mark.parametrize("name", TRAINED)
def test_what_was_measured_fits_into_what_is_asked_for(name):
    model = POCKET.model(name)
    for need, (peak, seconds) in (
        (trained(name, suite="pocket", device="cpu"), TRAINED[name]),
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
    # 11,846,072,320 parameters in float32 are 47.4 GB; with logits of 16,384 tokens they fit into 72 of 80 GB.
    need = evaluate(PYTHIA.model("pythia-12b"), 1e6, "cuda", "float32")
    assert need.gpus == 1
    assert 47_384 < need.gpu_memory_mb < USABLE * GPU_MEMORY_MB
    # 16 bytes of each parameter over the GPUs, with the activations and logits of one micro batch beside them.
    small, large = trained("pythia-70m"), trained("pythia-12b")
    assert small.gpus == 1
    assert 16 * 70.4 < small.gpu_memory_mb < 10_000
    assert (large.gpus, large.nodes, large.cpus) == (8, 1, 32)
    assert 16 * 11_846 / 8 < large.gpu_memory_mb < USABLE * GPU_MEMORY_MB
    # One process gathers the weights, each writes its share of the moments: 12 bytes of each parameter on the node.
    assert 12 * 11_846 < large.memory_mb < 12 * 11_846 + 8 * 2_000
    assert large.disk_mb == pytest.approx(11_846.07232 * (4 * 154 + 8), abs=1)
    # 2 bytes per parameter, masks and small files.
    assert 140 < fetch(PYTHIA.model("pythia-70m")).disk_mb < 175


def test_a_checkpoint_is_asked_for_in_time():
    """12 bytes of 11.8e9 parameters at half a GB per second are 284 s; an iteration of 12b on 8 GPUs takes a minute."""
    run = run_of("pythia-12b")
    assert 2 * 284 < signal_seconds(run, run.models[0], SITE) < 60 + 2 * (285 + 70)
    asked = JobResources(run, {}, SITE)
    assert asked.slurm_options(run.models[0], "retrain") == f"--signal=TERM@{signal_seconds(run, run.models[0], SITE)}"


def values(resources, model, attempt=1):
    """Resources of a rule for one job, as Snakemake evaluates them."""
    wildcards = types.SimpleNamespace(model=model)
    return {name: value(wildcards) if callable(value) else value for name, value in resources.items()}


def test_a_training_on_several_nodes_is_an_mpi_job_with_one_task_per_node():
    site = Site(partitions=(Partition("gpu", 1440, 1e6, 64, 32, 4, per_node=4, gpu_memory_mb=40_000),))
    run = run_of("pythia-12b", "pythia-70m")
    asked = JobResources(run, {}, site)
    found = values(asked.training_devices(["pythia-12b"]), "pythia-12b")
    assert (found["gpu"], found["nodes"], found["processes"], found["recompute"]) == (16, 4, 4, 1)
    assert (found["mpi"], found["tasks"], found["tasks_per_gpu"], found["cpus_per_task"]) == ("srun", 4, 0, 16)
    assert "--gpus-per-node=4" in found["slurm_extra"]
    small = values(asked.training_devices(["pythia-70m"]), "pythia-70m")
    assert not {"mpi", "tasks", "tasks_per_gpu"} & set(small)
    assert (small["gpu"], small["nodes"], small["processes"]) == (1, 1, 1)


def test_a_gres_site_is_asked_in_its_words_and_the_program_does_not_notice():
    run = run_of("pythia-12b")
    words = {
        option: values(
            JobResources(run, {}, Site(partitions=SITE.partitions, gpu_option=option)).training_devices(["pythia-12b"]),
            "pythia-12b",
        )
        for option in ("gpus", "gres")
    }
    assert words["gres"]["gres"] == "gpu:8"
    assert "gpu" not in words["gres"]
    assert {**words["gres"], "gpu": 8} == {**words["gpus"], "gres": "gpu:8"}
    assert words["gres"]["processes"] == 8


def test_jobs_go_to_the_smallest_gpus_that_hold_them():
    small = Partition("a40", 1440, 1e6, 64, 4, per_node=4, gpu_memory_mb=48_000, gpu_model="a40")
    site = Site(partitions=(NODE, small))
    asked = JobResources(run_of("pythia-70m", "pythia-12b"), {}, site)
    assert values(asked.devices("evaluate"), "pythia-70m")["slurm_partition"] == "a40"
    assert values(asked.devices("evaluate"), "pythia-70m")["gpu_model"] == "a40"
    assert values(asked.devices("evaluate"), "pythia-12b")["slurm_partition"] == "gpu"
    assert 60_000 < values(asked.devices("evaluate"), "pythia-12b")["gpu_mem_mb"] < 72_000
    assert JobResources(run_of("pythia-70m"), {}, site).gres(Need(1, 1, 1)) == "gpu:a40:1"


def test_retries_do_not_ask_for_more_than_the_site_has():
    """A third attempt of four evaluations in a row still ends within a day, and fits into a node."""
    asked = JobResources(run_of("pythia-12b", steps="all", shots=[0, 5]), {}, SITE, {"score_{model}": 4})
    wildcards = types.SimpleNamespace(model="pythia-12b")
    first, third = (asked.minutes("evaluate")(wildcards, attempt) for attempt in (1, 3))
    assert first < third == 360
    assert asked.memory("retrain")(wildcards, 9) == 1_000_000


def test_requests_grow_with_the_attempt_and_time_ends_at_a_day(root, monkeypatch):
    monkeypatch.chdir(root)
    asked = JobResources(load_run_file(root / "config/config.yaml"))
    wildcards = types.SimpleNamespace(model="pocket-1m")
    assert asked.memory("evaluate")(wildcards, 2) == 2 * asked.memory("evaluate")(wildcards, 1)
    assert asked.minutes("retrain")(wildcards, 99) == 1440
    assert asked.devices("evaluate")["gpu"](wildcards) == 0
    assert asked.engine_arguments() == asked.training_arguments(wildcards) == []


def test_a_run_on_gpus_asks_for_them_and_tells_the_programs(root, monkeypatch):
    monkeypatch.chdir(root)
    asked = JobResources(load_run_file(root / "config/runs/suite.yaml"))
    large = types.SimpleNamespace(model="pythia-12b")
    assert asked.devices("evaluate")["gpu"](large) == 1
    assert asked.devices("fetch")["gpu"](large) == 0
    assert asked.engine_arguments() == ["--device", "cuda"]
    assert asked.training_arguments(large) == ["--device", "cuda", "--parallel", "fsdp"]
