"""The site's file: what partitions take, as the Slurm plugin judges it; times as Slurm writes them; mistakes."""

import importlib
import math
import sys
import types

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.workflow.requests.cluster_site import (
    Partition,
    Request,
    Site,
    minutes_of,
    place_of_site,
    read_site,
)

FILE = """
partitions:
  cpu: {max_runtime: 8h, max_mem_mb: 64000, max_cpus_per_task: 8}
  gpu: {max_runtime: 1-12:00:00, max_mem_mb: 500000, max_threads: 32, max_gpu: 8, max_nodes: 2}
gpus:
  gpu: {per_node: 4, memory_mb: 40000, model: a100, tflops: {bfloat16: 150}}
gpu_option: gres
cpus_per_gpu: 6
"""


@pytest.fixture
def written(tmp_path):
    """Function that writes a site's file and reads it."""

    def write(text):
        (tmp_path / "site.yaml").write_text(text)
        return read_site(tmp_path / "site.yaml")

    return write


def test_the_file_as_it_is_read(written):
    site = written(FILE)
    cpu, gpu = site.partitions
    assert (cpu.name, cpu.minutes, cpu.memory_mb, cpu.cpus, cpu.gpus) == ("cpu", 480, 64_000, 8, 0)
    assert (gpu.minutes, gpu.cpus, gpu.gpus, gpu.nodes, gpu.per_node) == (36 * 60, 32, 8, 2, 4)
    assert (gpu.gpu_model, gpu.gpu_memory_mb, gpu.rates["bfloat16"]) == ("a100", 40_000, 150e12)
    assert gpu.rates["float32"] == 45e12
    assert (site.gpu_option, site.cpus_per_gpu) == ("gres", 6)
    assert (site.cluster.memory_mb, site.cluster.per_node, site.cluster.nodes) == (40_000, 4, 2)
    assert site.longest_minutes(0) == 36 * 60
    assert site.rate("bfloat16") == 150e12


def test_the_file_of_the_profiles_is_in_force(root, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert place_of_site() == root / "profiles" / "slurm" / "site.yaml"
    assert read_site().gpu_partitions[-1].gpu_memory_mb == 80_000
    (tmp_path / "mine.yaml").write_text(FILE)
    monkeypatch.setenv("SNAKEMAKE_SLURM_PARTITIONS", str(tmp_path / "mine.yaml"))
    assert read_site().gpu_option == "gres"
    (tmp_path / "mine.yaml").write_text(FILE.replace("cpus_per_gpu: 6", "cpus_per_gpu: 16"))
    assert read_site().cpus_per_gpu == 16, "an edited file is read again"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("gpu_option: gres", "gpu_option: tres"), "tres"),
        (("max_mem_mb: 64000", "max_memory: 64000"), "max_memory"),
        (("max_runtime: 8h", "max_runtime: soon"), "max_runtime"),
        (("per_node: 4, ", ""), "per_node"),
        (("model: a100", "model: 'a 100; reboot'"), "model"),
    ],
)
def test_mistakes_are_named(written, change, message):
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        written(FILE.replace(*change))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), (90, 90), ("1d", 1440), ("2d12h", 3600), ("1-00", 1440), ("7-00:00:00", 10_080), ("00:30:00", 30)],
)
def test_times_as_slurm_and_snakemake_write_them(text, minutes):
    assert minutes_of(text) == minutes


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request(65_000, 60), ""),  # the other partition has the memory
        (Request(1000, 60, gpus=8, nodes=2, gpu_memory_mb=36_000), ""),
        (Request(1000, 60, gpus=8), "gpu: 8 GPUs on 1 node of 4"),
        (Request(1000, 60, gpus=1, gpu_memory_mb=62_700), "gpu: 62,700 MB of a GPU's 40,000"),
        (Request(600_000, 60, gpus=1), "gpu: 600,000 MB of memory of 500,000"),
        (Request(600_000, 60), "cpu: 600,000 MB of memory of 64,000"),
        (Request(1000, 2161, gpus=1), "gpu: 2,161 minutes of 2,160"),
        (Request(1000, 60, cpus=33, gpus=1), "gpu: 33 processors of 32"),
        (Request(1000, 60, gpus=16, nodes=4), "gpu: 16 GPUs of 8, 4 nodes of 2"),
    ],
)
def test_what_no_partition_takes_is_refused_by_the_nearest(written, request_, reason):
    said = written(FILE).refusal(request_)
    assert said.startswith(reason)
    assert bool(said) == bool(reason)


def test_without_a_file_nothing_is_judged():
    assert Site().refusal(Request(10**9, 10**9, gpus=10**6)) == ""
    assert (Site().cluster.per_node, Site().longest_minutes(0)) == (8, 1440)


@pytest.fixture(scope="module")
def plugin(root):
    """The plugin's own choice of partitions, without its package, which asks for a controller when it is imported."""
    folder = root / ".slurm-plugins" / "snakemake_executor_plugin_slurm"
    if not folder.is_dir():
        pytest.skip("the Slurm plugin is not in .slurm-plugins: make setup-cluster-tests")
    package = types.ModuleType("bare_slurm_plugin")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    yield importlib.import_module("bare_slurm_plugin.partitions")
    for name in [name for name in sys.modules if name.startswith("bare_slurm_plugin")]:
        del sys.modules[name]


LIMITS = st.fixed_dictionaries(
    {"max_gpu": st.sampled_from([0, 1, 4, 8])},
    optional={
        "max_runtime": st.sampled_from(["30", "8h", "1d", "2-00:00:00"]),
        "max_mem_mb": st.sampled_from([1000, 64_000]),
        "max_cpus_per_task": st.sampled_from([1, 8]),
        "max_threads": st.sampled_from([2, 16]),
        "max_nodes": st.sampled_from([1, 2]),
    },
)


REQUESTS = st.builds(
    Request,
    memory_mb=st.sampled_from([500, 1000, 1001, 64_001]),
    minutes=st.sampled_from([10, 31, 481, 1441, 2881]),
    cpus=st.sampled_from([1, 2, 9, 17]),
    gpus=st.sampled_from([0, 1, 5, 9]),
    nodes=st.sampled_from([1, 2, 3]),
)


@given(LIMITS, REQUESTS)
def test_a_partition_takes_what_the_plugin_says_it_takes(plugin, limits, asked):
    """All but the memory of a GPU and GPUs of a node, which the plugin does not ask for."""
    resources = {"mem_mb": asked.memory_mb, "runtime": asked.minutes, "cpus_per_task": asked.cpus}
    resources |= {"gpu": asked.gpus, "nodes": asked.nodes}
    theirs = plugin.Partition("p", plugin.PartitionLimits(**limits))
    job = types.SimpleNamespace(resources=resources, threads=1)
    runtime = limits.get("max_runtime")
    mine = Partition(
        "p",
        minutes=minutes_of(runtime) if runtime else math.inf,
        memory_mb=limits.get("max_mem_mb", math.inf),
        cpus=min(limits.get("max_cpus_per_task", math.inf), limits.get("max_threads", math.inf)),
        gpus=limits["max_gpu"],
        nodes=limits.get("max_nodes", math.inf),
        per_node=8,
    )
    assert (mine.reasons(asked) == []) == (theirs.score_job_fit(job) is not None)


def test_the_plugin_reads_the_site_as_it_is(plugin, root):
    path = root / "profiles" / "slurm" / "site.yaml"
    names = [each.name for each in plugin.read_partition_file(path)]
    assert (
        names
        == list(yaml.safe_load(path.read_text())["partitions"])
        == [each.name for each in read_site(path).partitions]
    )
