"""What one job asks of a machine, from the facts of its model: memory, GPUs, minutes, disk.

Pure arithmetic on stated constants; the rules ask through ``JobResources``, the plan sums the same numbers. Estimates
are upper bounds on purpose: a request that is too small costs a killed job, one that is too large only a longer queue.
What a machine is called and how much it holds is a profile's matter and never stands here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from workflow_scripts.evaluation.scoring.engine_choice import OWN_ARCHITECTURES
from workflow_scripts.suite.dynamics_settings import DEFAULT, Dynamics, load_dynamics
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import Run
from workflow_scripts.workflow.requests.cluster_site import LONGEST_MINUTES, Partition, Request, Site, read_site
from workflow_scripts.workflow.requests.measured_requests import Key, Measured, read_table
from workflow_scripts.workflow.requests.training_requests import (
    CPU_RATE,
    GPU_RATES,
    Devices,
    forward_flops_per_token,
    memory_on,
    micro_batch_tokens,
    saved_bytes,
    training_tokens,
)
from workflow_scripts.workflow.snakemake_types import Wildcards
from workflow_scripts.workflow.sweep import checkpoint_bytes
from workflow_scripts.workflow.training_segments import SAFETY, Segments, choices_of, devices_of, expected_seconds

HOUR = 3600.0
MEGABYTE = 1e6
# Tokens that one evaluation of one checkpoint forwards with shared prefixes computed once: 3.65e6 for the zero-shot
# list of the suite, measured with lm-eval 0.4.13's requests; five shots cost about twice as much.
EVALUATION_TOKENS = {"pythia": 3.65e6, "pocket": 6e4, "books": 1e6, "books-long": 6.1e6}
MORE_SHOTS_FACTOR = 2.0
QUICKSTART_TOKENS = 100.0
# Resident size of a Python with torch, numba, this package and a plan: 265 to 531 MB for models of up to a million
# parameters, and 200 MB for the two Snakemakes that a cluster's job holds beside it.
PROGRAM_MB = 800
# lm-eval's own model beside our engine: it shares no prefixes, holds whole logits and imports more.
STOCK_FACTOR, STOCK_MB = 8.0, 3000
# Bytes per token of a plan that is being scored: 1,634 MB in all were measured with the 6.1e6 tokens of books-long.
PLAN_BYTES = 225
# Nodes that the evaluation's engine forwards at once, and rows of logits and their logarithms beside each other.
ENGINE_TOKENS = {"cpu": 2048, "cuda": 16384}
LOGIT_COPIES = 3
# Widths of one layer's activations that live at once in a forward pass: the MLP's 4 d twice, q, k, v, residuals.
FORWARD_WIDTHS = 16
# Weights per second that one core reads, hashes, sums up and sketches; 3e7 were measured (benchmarks/dynamics.py).
MEASURED_WEIGHTS = 2e7
# Resident size of a training on a CPU against its live tensors: 1.17 to 1.39 were measured (docs/training-requests.md).
KEPT_BLOCKS = 1.4
# Weights that the first process gathers, moments that each process copies to the host while it writes its share.
GATHERED_BYTES, MOMENT_BYTES = 4.0, 8.0
# Bytes per second that one download reaches on a shared line, and a checkpoint on a shared file system.
DOWNLOAD_RATE = 50e6
CHECKPOINT_RATE = 0.5e9
FEWEST_MINUTES = 10
SIGNAL_SECONDS = 60  # Slurm sends signals within a minute of the time that was asked for


@dataclass(frozen=True)
class Need:
    """What one job asks for: host memory of a node in MB (1e6 bytes), memory of each GPU in MB, minutes, disk in MB.

    ``gpus`` are those of all ``nodes`` together, ``cpus`` the processors on each node.
    """

    memory_mb: int
    minutes: int
    gpus: int = 0
    gpu_memory_mb: int = 0
    disk_mb: int = 0
    nodes: int = 1
    cpus: int = 1


def minutes_for(seconds: float) -> int:
    """Minutes to ask for when ``seconds`` are expected: twice as long, at least ten."""
    return max(FEWEST_MINUTES, math.ceil(SAFETY * seconds / 60) + FEWEST_MINUTES // 2)


def logit_bytes(model: Model, tokens: int) -> float:
    """Logits and what is computed from them, in float32."""
    return 4.0 * LOGIT_COPIES * tokens * model.vocab_size


def fetch(model: Model) -> Need:
    """Download of one checkpoint; the file is hashed in pieces, so memory does not depend on its size."""
    size = checkpoint_bytes(model)
    return Need(500, minutes_for(size / DOWNLOAD_RATE), disk_mb=math.ceil(size / MEGABYTE))


def evaluate(model: Model, tokens: float, device: str, dtype: str, rate: float | None = None) -> Need:
    """One checkpoint forwarding ``tokens`` tokens on ``device`` ("cpu" or "cuda") in ``dtype``.

    ``rate`` is the FLOP per second of a GPU, by default an H100's.
    """
    width = 4 if dtype == "float32" else 2
    weights = width * float(model.parameters)
    batch = ENGINE_TOKENS[device]
    working = logit_bytes(model, batch) + 4.0 * FORWARD_WIDTHS * batch * model.hidden_size
    ours = model.architecture in OWN_ARCHITECTURES
    flops = tokens * forward_flops_per_token(model) * (1 if ours else STOCK_FACTOR)
    program = PROGRAM_MB + (0 if ours else STOCK_MB)
    if device == "cpu":
        # The file's pages stay in memory beside the weights that are made from them.
        memory = program + (weights + checkpoint_bytes(model) + working + PLAN_BYTES * tokens) / MEGABYTE
        return Need(math.ceil(memory), minutes_for(flops / CPU_RATE))
    host = PROGRAM_MB + program + (weights + checkpoint_bytes(model)) / MEGABYTE
    return Need(
        math.ceil(host), minutes_for(flops / (rate or GPU_RATES[dtype])), 1, math.ceil((weights + working) / MEGABYTE)
    )


def measured_seconds(model: Model) -> float:
    """Core-seconds of measuring a checkpoint's weights.

    A Gram matrix of every matrix takes ``width`` FLOPs per weight, its eigenvalues about ten cubes of the width.
    """
    width, matrices = model.hidden_size, 4 * model.layers + 2
    flops = float(model.parameters) * width + 10.0 * matrices * width**3
    return flops / CPU_RATE + float(model.parameters) / MEASURED_WEIGHTS


def measure_weights(model: Model) -> Need:
    """Weights of one checkpoint, tensor by tensor: the largest as stored and in float32, a few Gram matrices."""
    width = model.hidden_size
    memory = PROGRAM_MB + (12.0 * model.vocab_size * width + 48.0 * width**2) / MEGABYTE
    return Need(math.ceil(memory), minutes_for(measured_seconds(model)))


def probe_tokens(model: Model, declaration: Dynamics) -> float:
    """Tokens that one checkpoint is asked, those for gradients six times: two passes forward and backward."""
    probe = declaration.probe
    if not probe:
        return 0.0
    text = len(probe["iterations"]) * probe["rows"] + (probe["text_rows"] if probe["text"] else 0)
    random = probe.get("repeated", {"length": 0, "sequences": 0})
    batch = probe.get("gradient", {}).get("rows", 0) * model.sequence_length
    return float(text * probe["length"] + 4 * random["length"] * random["sequences"] + 6 * batch)


def measure_probe(model: Model, declaration: Dynamics, device: str) -> Need:
    """One checkpoint asked the probe in float32; the lens applies the output matrix behind every layer."""
    weights, tokens = 4.0 * model.parameters, probe_tokens(model, declaration)
    lens = 2.0 * model.vocab_size * model.hidden_size * (model.layers + 1)
    seconds = tokens * (forward_flops_per_token(model) + lens) / (CPU_RATE if device == "cpu" else GPU_RATES["float32"])
    working = MEGABYTE * declaration.probe.get("memory_mb", 0)
    if "gradient" in declaration.probe:  # of a row and of all, and the activations of a row in float32
        row = model.sequence_length
        working = max(
            working, 2 * weights + (model.layers + 1) * saved_bytes(model, row, "float32") + logit_bytes(model, row)
        )
    host = PROGRAM_MB + (weights + checkpoint_bytes(model)) / MEGABYTE
    if device == "cpu":
        return Need(math.ceil(host + working / MEGABYTE), minutes_for(seconds))
    return Need(math.ceil(host + PROGRAM_MB), minutes_for(seconds), 1, math.ceil((weights + working) / MEGABYTE))


def retrain(run: Run, model: Model, site: Site, fraction: float = 1.0) -> Need:
    """``fraction`` of the training of a model; the disk holds float32 weights per step and two moments.

    Its time is cut at what the site's longest job takes: a training resumes from its last checkpoint.
    """
    devices = devices_of(run, model, site)
    gpus = 0 if devices is None else devices.gpus
    minutes = minutes_for(fraction * expected_seconds(run, model, site)) + (30 if devices is None else 0)
    minutes = min(minutes, max(int(site.longest_minutes(gpus)), FEWEST_MINUTES))
    disk = math.ceil(float(model.parameters) * (4 * len(model.steps) + 8) / MEGABYTE)
    if devices is None:
        choices = choices_of(run)
        tokens = micro_batch_tokens(model, choices.micro_batch)
        memory = memory_on(model, "cpu", 1, tokens, recompute=bool(choices.recompute)).total
        return Need(2 * PROGRAM_MB + math.ceil(KEPT_BLOCKS * memory / MEGABYTE), minutes, disk_mb=disk)
    processes = gpus // devices.nodes
    files = (GATHERED_BYTES + MOMENT_BYTES / devices.nodes) * model.parameters
    return Need(
        memory_mb=math.ceil(processes * 2 * PROGRAM_MB + files / MEGABYTE),
        minutes=minutes,
        gpus=gpus,
        gpu_memory_mb=math.ceil(devices.memory.total / MEGABYTE),
        disk_mb=disk,
        nodes=devices.nodes,
        cpus=processes * site.cpus_per_gpu,
    )


def signal_seconds(run: Run, model: Model, site: Site) -> int:
    """Seconds before its time limit at which a training is told to write a checkpoint: twice what that takes."""
    iteration = expected_seconds(run, model, site) / model.train_iterations
    written = (GATHERED_BYTES + MOMENT_BYTES) * model.parameters / CHECKPOINT_RATE
    return SIGNAL_SECONDS + math.ceil(2 * (iteration + written))


def evaluation_tokens(run: Run) -> float:
    """Tokens forwarded to evaluate one checkpoint on all tasks and all numbers of shots of a run."""
    once = EVALUATION_TOKENS.get(run.suite.name, EVALUATION_TOKENS["pythia"])
    return once * sum(1.0 if shots == 0 else MORE_SHOTS_FACTOR for shots in run.shots)


def grows(number: int) -> Callable[[Wildcards, int], int]:
    """A request for a rule's ``resources:`` that is ``number`` at the first attempt and as much more at each retry.

    >>> grows(500)(None, 3)
    1500
    """

    def request(wildcards: Wildcards, attempt: int) -> int:  # noqa: ARG001 - Snakemake passes them
        return number * attempt

    return request


def lasts(number: int) -> Callable[[Wildcards, int], int]:
    """Minutes for a rule's ``resources:``, growing with each attempt but not beyond a day, where partitions often end.

    >>> lasts(60)(None, 2), lasts(1000)(None, 2), lasts(4320)(None, 2)
    (120, 1440, 4320)
    """

    def request(wildcards: Wildcards, attempt: int) -> int:  # noqa: ARG001 - Snakemake passes them
        return min(number * attempt, max(number, int(LONGEST_MINUTES)))

    return request


def observed(need: Need, measured: Measured, work: float) -> Need:
    """``need`` with measured memory and time, the latter for a job with ``work`` tokens or bytes."""
    minutes = min(minutes_for(measured.seconds_of(work)), max(need.minutes, int(LONGEST_MINUTES)))
    return replace(need, memory_mb=measured.memory_mb, minutes=minutes)


class JobResources:
    """The requests of a run's jobs, as functions that Snakemake calls with a job's wildcards and attempt."""

    def __init__(
        self,
        run: Run,
        measured: Mapping[Key, Measured] | None = None,
        site: Site | None = None,
        groups: Mapping[str, int] | None = None,
    ) -> None:
        """Compute every model's needs once: a plan of thousands of jobs asks thousands of times.

        What ``measured`` knows takes the place of arithmetic; when left out it is the table in the working directory.
        ``site`` is the cluster, by default the one in its file; ``groups`` says how many jobs share an allocation.
        """
        self.run = run
        self.measured = read_table() if measured is None else measured
        self.site = site or read_site()
        self.together = max((groups or {}).get("score_{model}", 1), 1)
        self.device = str(run.settings.get("device", "cpu"))
        self.dtype = str(run.section("evaluation").get("dtype", "float32"))
        self.memorization_dtype = memorization_dtype(run)
        tokens = evaluation_tokens(run)
        dynamics = load_dynamics(str(run.section("dynamics").get("declaration", DEFAULT)))
        self.models = {model.name: model for model in run.models}
        self.kernels = str(run.section("training").get("kernels", "eager"))
        self.segments = Segments(run, self.site)
        rate, rate_of_rows = self.site.rate(self.dtype), self.site.rate(self.memorization_dtype)
        self.needs: Mapping[str, Mapping[str, Need]] = {
            model.name: {
                "fetch": fetch(model),
                "evaluate": evaluate(model, tokens, self.device, self.dtype, rate),
                "quickstart": evaluate(model, QUICKSTART_TOKENS, "cpu", "float32"),
                **self.training_needs(model),
                "memorize": evaluate(
                    model, memorization_tokens(run), self.device, self.memorization_dtype, rate_of_rows
                ),
                "measure_weights": measure_weights(model),
                "measure_probe": measure_probe(model, dynamics, self.device),
            }
            for model in run.models
        }
        # Tokens or bytes of one job, by which a measured time is scaled.
        self.work: Mapping[str, Mapping[str, float]] = {
            model.name: {
                "fetch": float(checkpoint_bytes(model)),
                "evaluate": tokens,
                "retrain": self.segments.share(model.name) * training_tokens(model),
                "memorize": memorization_tokens(run),
                "measure_weights": float(model.parameters),
                "measure_probe": probe_tokens(model, dynamics),
            }
            for model in run.models
        }
        self.needs = {name: self.refined(name, needs) for name, needs in self.needs.items()}

    def training_needs(self, model: Model) -> dict[str, Need]:
        """Needs of the trainings of a model; none where the suite does not know how it was trained."""
        if model.unknown_of_training:
            return {}
        whole = retrain(self.run, model, self.site)
        share = self.segments.share(model.name)
        part = whole if share == 1.0 else retrain(self.run, model, self.site, share)
        return {"retrain": part, "retrain_arm": whole}

    def refined(self, model: str, needs: Mapping[str, Need]) -> dict[str, Need]:
        """``needs`` of ``model`` with what was measured in place of what was computed."""
        found = {stage: self.measured.get((stage, model, self.device)) for stage in needs}
        return {
            stage: needs[stage] if each is None else observed(needs[stage], each, self.work[model][stage])
            for stage, each in found.items()
        }

    def memory(self, stage: str) -> Callable[[Wildcards, int], int]:
        """Host memory in MB of a stage's jobs, growing with each attempt as far as a node of the site has it."""

        def request(wildcards: Wildcards, attempt: int) -> int:
            need = self.needs[wildcards.model][stage]
            return grown(need.memory_mb, attempt, self.site.largest_memory(need.gpus))

        return request

    def minutes(self, stage: str, factor: int = 1) -> Callable[[Wildcards, int], int]:
        """Minutes of a stage's jobs, growing with each attempt; ``factor`` for jobs that repeat the stage's work.

        Evaluations that share an allocation run one after another, so each may grow to its part of the longest job.
        """
        together = self.together if stage == "evaluate" else 1

        def request(wildcards: Wildcards, attempt: int) -> int:
            need = self.needs[wildcards.model][stage]
            return grown(factor * need.minutes, attempt, self.site.longest_minutes(need.gpus) / together)

        return request

    def training_minutes(self, end: int) -> Callable[[Wildcards, int], int]:
        """Minutes of the training, or the segment of it, that ends at iteration ``end``, growing with each attempt."""

        def request(wildcards: Wildcards, attempt: int) -> int:
            model = self.models[wildcards.model]
            if end == model.train_iterations:
                return self.minutes("retrain")(wildcards, attempt)
            need = retrain(self.run, model, self.site, self.segments.share(model.name, end))
            return grown(need.minutes, attempt, self.site.longest_minutes(need.gpus))

        return request

    def devices(self, stage: str) -> dict[str, Callable[[Wildcards], int | str]]:
        """The resources that ask for GPUs, in the words that the site takes; no GPUs in a run on ``device: cpu``.

        ``gpu_mem_mb`` says what each GPU must hold. Where the site has GPUs of several sizes it decides the partition,
        the one with the smallest that suffice; otherwise the Slurm plugin chooses.
        """

        def of(number: Callable[[Need], int | str]) -> Callable[[Wildcards], int | str]:
            return lambda wildcards: number(self.needs[wildcards.model][stage])

        if self.device == "cpu":
            return {"gpu": of(lambda need: need.gpus)}
        found = {"gpu_mem_mb": of(lambda need: need.gpu_memory_mb)}
        if self.site.gpu_option == "gres":
            found["gres"] = of(self.gres)
        else:
            found["gpu"] = of(lambda need: need.gpus)
            if any(each.gpu_model for each in self.site.gpu_partitions):
                found["gpu_model"] = of(lambda need: self.partition(need).gpu_model or "")
        if len({each.gpu_memory_mb for each in self.site.gpu_partitions}) > 1:
            found["slurm_partition"] = of(lambda need: self.partition(need).name)
        return found

    def partition(self, need: Need) -> Partition:
        """Where a job on GPUs goes: to the smallest GPUs that hold it, or to the largest there are."""
        request, places = request_of(need), self.site.gpu_partitions
        return next((each for each in places if not each.reasons(request)), places[-1])

    def gres(self, need: Need) -> str:
        """GPUs of each node as a generic resource."""
        model = self.partition(need).gpu_model if self.site.gpu_partitions else None
        return ":".join(["gpu", *([model] if model else []), str(need.gpus // need.nodes)])

    def training_devices(self, models: Iterable[str], stage: str = "retrain") -> dict[str, object]:
        """The resources of a rule that trains ``models``: GPUs, nodes, processors, and how the program uses them.

        ``processes`` of each node and ``recompute`` (1 or 0) go to the program. They are no parameters, because they
        change no result: ``processes`` does not depend on the words in which a site takes requests. A job of several
        nodes is an MPI job to the Slurm plugin, so that its program may start tasks on all of them; it has one task per
        node, and no tasks per GPU.
        """

        def of(number: Callable[[Need], int | str]) -> Callable[[Wildcards], int | str]:
            return lambda wildcards: number(self.needs[wildcards.model][stage])

        spans = any(self.needs[name][stage].nodes > 1 for name in models)
        found: dict[str, object] = {
            **self.devices(stage),
            "nodes": of(lambda need: need.nodes),
            "processes": of(lambda need: max(need.gpus // need.nodes, 1)),
            "recompute": lambda wildcards: int(self.recomputes(self.models[wildcards.model])),
            "slurm_extra": lambda wildcards: self.slurm_options(self.models[wildcards.model], stage),
        }
        if self.device != "cpu":
            found["cpus_per_task"] = of(lambda need: need.cpus)
        if spans:
            found |= {"mpi": "srun", "tasks": of(lambda need: need.nodes), "tasks_per_gpu": 0}
        return found

    def training(self, model: Model) -> Devices | None:
        """The GPUs on which ``model`` trains."""
        return devices_of(self.run, model, self.site)

    def recomputes(self, model: Model) -> bool:
        """Whether the training of ``model`` recomputes activations."""
        devices = self.training(model)
        return bool(choices_of(self.run).recompute) if devices is None else devices.recompute

    def slurm_options(self, model: Model, stage: str) -> str:
        """A signal in time for a checkpoint, and the GPUs of each node where there are several."""
        need = self.needs[model.name][stage]
        # A quarter of the time at most: a job that is told to end when it starts gets nowhere.
        seconds = min(signal_seconds(self.run, model, self.site), 15 * need.minutes)
        spread = need.nodes > 1 and self.site.gpu_option == "gpus"
        return f"--signal=TERM@{seconds}" + (f" --gpus-per-node={need.gpus // need.nodes}" if spread else "")

    def disk(self, stage: str) -> Callable[[Wildcards], int]:
        """Disk in MB that a stage's jobs fill."""
        return lambda wildcards: self.needs[wildcards.model][stage].disk_mb

    def engine_arguments(self, dtype: str | None = None) -> list[str]:
        """Device and precision as arguments of the programs that forward a network; none for their defaults.

        ``dtype`` is that of the evaluation when left out.
        """
        given = {"--device": (self.device, "cpu"), "--dtype": (dtype or self.dtype, "float32")}
        return [text for name, (value, default) in given.items() if value != default for text in (name, value)]

    def training_arguments(self, wildcards: Wildcards) -> list[str]:
        """What decides bits of a training beside its recipe: device, kernels, rows of a micro-batch, sharding."""
        rows = choices_of(self.run).micro_batch
        chosen = ["--kernels", self.kernels] if self.kernels != "eager" else []
        chosen += [] if rows is None else ["--micro-batch", str(rows)]
        if self.device == "cpu":
            return chosen
        sharded = ["--parallel", "fsdp"] if self.needs[wildcards.model]["retrain"].gpus > 1 else []
        return ["--device", self.device, *sharded, *chosen]


def grown(number: int, attempt: int, most: float) -> int:
    """``number`` times ``attempt``, but not beyond ``most`` unless the first attempt is there already.

    >>> grown(60, 2, 1440), grown(1000, 2, 1440), grown(2000, 2, 1440)
    (120, 1440, 2000)
    """
    return int(min(number * attempt, max(number, most)))


def request_of(need: Need, together: int = 1) -> Request:
    """``need`` as a request to a partition, for an allocation in which ``together`` such jobs run one after another."""
    return Request(need.memory_mb, need.minutes * together, need.cpus, need.gpus, need.nodes, need.gpu_memory_mb)


def memorization_dtype(run: Run) -> str:
    """Precision in which memorization is scored."""
    return str(run.section("memorization").get("dtype", "float32"))


def memorization_tokens(run: Run) -> float:
    """Tokens that one memorization job forwards: prompt and continuation of its rows."""
    settings = run.section("memorization")
    if not settings:
        return 0.0
    rows = int(settings.get("rows_per_job", 0)) / int(settings.get("every", 1))
    return rows * (int(settings.get("prompt", 32)) + int(settings.get("continuation", 32)))
