"""The cluster that a site's file describes: what each partition takes, and why one does not take a job.

The file is ``profiles/slurm/site.yaml``; its part ``partitions`` is the Slurm plugin's own format, which sends a job
that no partition takes to the default partition, whatever that is. So requests are held to the file before they are
submitted. ``tests/workflow/test_cluster_site.py`` compares the answers with the plugin's.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts import ROOT
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.suite.schema import check_schema
from workflow_scripts.workflow.requests.training_requests import (
    GPU_MEMORY_MB,
    GPU_RATES,
    GPUS_PER_NODE,
    USABLE,
    Cluster,
)

PLACE = Path("profiles") / "slurm" / "site.yaml"
OF_PLUGIN = "SNAKEMAKE_SLURM_PARTITIONS"  # where the plugin looks when a profile names no file
LONGEST_MINUTES = 1440.0  # where no file says more: partitions often end after a day
CPUS_PER_GPU = 4
UNIT_MINUTES = {"d": 1440.0, "h": 60.0, "m": 1.0, "s": 1 / 60}


@dataclass(frozen=True)
class Request:
    """What one job asks for: MB of memory on each node, minutes, processors and GPUs (of all nodes), MB of each GPU."""

    memory_mb: int
    minutes: int
    cpus: int = 1
    gpus: int = 0
    nodes: int = 1
    gpu_memory_mb: int = 0


@dataclass(frozen=True)
class Partition:
    """Limits of a partition for one job, infinite where its file names none; ``gpu_memory_mb`` 0 is not known."""

    name: str
    minutes: float = math.inf
    memory_mb: float = math.inf
    cpus: float = math.inf
    gpus: int = 0
    nodes: float = math.inf
    per_node: int = GPUS_PER_NODE
    gpu_memory_mb: int = 0
    gpu_model: str | None = None
    rates: Mapping[str, float] = field(default_factory=lambda: GPU_RATES)
    constraints: frozenset[str] = frozenset()

    def reasons(self, request: Request) -> list[str]:
        """Why this partition does not take a job; empty when it does."""
        found = []
        if request.gpus and not self.gpus:
            found.append("no GPUs")
        elif request.gpus > self.gpus:
            found.append(f"{request.gpus} GPUs of {self.gpus}")
        elif self.gpus and request.gpus > self.per_node * request.nodes:
            found.append(f"{request.gpus} GPUs on {request.nodes} node of {self.per_node}")
        if self.gpu_memory_mb and request.gpu_memory_mb > USABLE * self.gpu_memory_mb:
            found.append(f"{request.gpu_memory_mb:,} MB of a GPU's {self.gpu_memory_mb:,} (at most {USABLE:.0%})")
        if request.memory_mb > self.memory_mb:
            found.append(f"{request.memory_mb:,} MB of memory of {self.memory_mb:,.0f}")
        if request.minutes > self.minutes:
            found.append(f"{request.minutes:,} minutes of {self.minutes:,.0f}")
        if request.cpus > self.cpus:
            found.append(f"{request.cpus} processors of {self.cpus:.0f}")
        if request.nodes > self.nodes:
            found.append(f"{request.nodes} nodes of {self.nodes:.0f}")
        return found


@dataclass(frozen=True)
class Site:
    """A cluster; without a file it has no partitions, takes everything, and has nodes of eight GPUs with 80 GB."""

    path: Path | None = None
    partitions: tuple[Partition, ...] = ()
    gpu_option: str = "gpus"
    cpus_per_gpu: int = CPUS_PER_GPU

    @property
    def gpu_partitions(self) -> tuple[Partition, ...]:
        """Partitions with GPUs, those with the largest GPUs last."""
        return tuple(sorted((each for each in self.partitions if each.gpus), key=lambda each: each.gpu_memory_mb))

    @property
    def cluster(self) -> Cluster:
        """What a training may have: the partition with the largest GPUs."""
        if not self.gpu_partitions:
            return Cluster(minutes=LONGEST_MINUTES)
        best = self.gpu_partitions[-1]
        per_node = min(best.per_node, best.gpus)
        nodes = int(min(best.nodes, best.gpus // per_node))
        memory = best.gpu_memory_mb or GPU_MEMORY_MB
        return Cluster(memory, per_node, nodes, min(best.minutes, self.longest_minutes(1)), best.rates["bfloat16"])

    def rate(self, dtype: str) -> float:
        """FLOP per second of one GPU in ``dtype``."""
        return (self.gpu_partitions[-1].rates if self.gpu_partitions else GPU_RATES)[dtype]

    def longest_minutes(self, gpus: int) -> float:
        """Longest time that a job with so many GPUs may take, a day where nothing is said."""
        limits = [each.minutes for each in self.partitions if each.gpus >= gpus]
        longest = max(limits, default=LONGEST_MINUTES)
        return longest if math.isfinite(longest) else 7 * LONGEST_MINUTES

    def largest_memory(self, gpus: int) -> float:
        """Most MB that a job with so many GPUs may have on a node."""
        return max((each.memory_mb for each in self.partitions if each.gpus >= gpus), default=math.inf)

    def refusal(self, request: Request, chosen: str | None = None) -> str:
        """Why no partition takes a job, by the one that comes nearest; empty when one does, or nothing is known.

        ``chosen`` is a partition that a profile names for the job; one that is not in the file is not judged.
        """
        asked = [each for each in self.partitions if not chosen or each.name == chosen]
        if not asked or any(not each.reasons(request) for each in asked):
            return ""
        nearest = min(asked, key=lambda each: (bool(request.gpus) != bool(each.gpus), len(each.reasons(request))))
        return f"{nearest.name}: {', '.join(nearest.reasons(request))}"


def place_of_site() -> Path | None:
    """The file in force: the plugin's variable, the working directory's, or this checkout's; None without any."""
    named = os.environ.get(OF_PLUGIN)
    candidates = [*([Path(named)] if named else []), PLACE, ROOT / PLACE]
    return next((path for path in candidates if path.is_file()), None)


def read_site(path: Path | None = None) -> Site:
    """The site in ``path``, by default :func:`place_of_site`. Raises ConfigError for a file with mistakes."""
    found = path or place_of_site()
    return Site() if found is None else read_version(found, found.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def read_version(path: Path, _written: int) -> Site:
    """The site in ``path``; the rules ask for it more than once."""
    values = load_yaml(path)
    check_schema(values, "site", str(path))
    gpus = values.get("gpus", {})
    partitions = tuple(partition_of(name, limits, gpus.get(name, {})) for name, limits in values["partitions"].items())
    option, cpus = values.get("gpu_option", "gpus"), values.get("cpus_per_gpu", CPUS_PER_GPU)
    return Site(path, partitions, option, cpus)


def partition_of(name: str, limits: JsonMapping, gpus: JsonMapping) -> Partition:
    """One partition from its limits and what is said about its GPUs."""
    models = limits.get("available_gpu_models") or []
    rates = {**GPU_RATES, **{dtype: rate * 1e12 for dtype, rate in gpus.get("tflops", {}).items()}}
    most = limits.get("max_gpu", 0)
    return Partition(
        name=name,
        minutes=minutes_of(limits["max_runtime"]) if "max_runtime" in limits else math.inf,
        memory_mb=limits.get("max_mem_mb", math.inf),
        cpus=min(limits.get("max_cpus_per_task", math.inf), limits.get("max_threads", math.inf)),
        gpus=most,
        nodes=limits.get("max_nodes", math.inf),
        per_node=gpus.get("per_node", most or GPUS_PER_NODE),
        gpu_memory_mb=gpus.get("memory_mb") or 0,
        gpu_model=gpus.get("model") or (models[0] if len(models) == 1 else None),
        rates=rates,
        constraints=frozenset(limits.get("available_constraints") or []),
    )


def minutes_of(text: str | float) -> float:
    """Minutes of a time limit as Slurm and Snakemake write them; a number is minutes.

    >>> minutes_of("1d"), minutes_of("2d12h"), minutes_of("1-06:30:00"), minutes_of("08:00:00"), minutes_of(90)
    (1440.0, 3600.0, 1830.0, 480.0, 90.0)
    """
    written = str(text)
    if parts := re.findall(r"(\d+(?:\.\d+)?)([dhms])", written):
        return math.fsum(float(number) * UNIT_MINUTES[unit] for number, unit in parts)
    days, dash, rest = written.rpartition("-")
    if not dash and ":" not in written:
        return float(written)
    hours, minutes, seconds = [*(float(part) for part in rest.split(":")), 0.0, 0.0][:3]
    return float(days or 0) * 1440 + hours * 60 + minutes + seconds / 60
