"""What one job asks of a machine, from the facts of its model: memory, GPUs, minutes, disk.

Pure arithmetic on stated constants; the rules ask through ``JobResources``, the plan sums the same numbers. Estimates
are upper bounds on purpose: a request that is too small costs a killed job, one that is too large only a longer queue.
What a machine is called and how much it holds is a profile's matter and never stands here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from workflow_scripts.suite.dynamics_settings import DEFAULT, Dynamics, load_dynamics
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import Run
from workflow_scripts.workflow.requests.measured_requests import Key, Measured, read_table
from workflow_scripts.workflow.snakemake_types import Wildcards
from workflow_scripts.workflow.sweep import checkpoint_bytes
from workflow_scripts.workflow.training_segments import Segments

HOUR = 3600.0
MEGABYTE = 1e6
# Sustained rates, FLOP per second. One CPU core in float32: 50e9 of the 80-90e9 that a large matrix product reaches on
# a 2025 server core. One H100 or H200: 45e12 of 67e12 in float32 without TF32, 400e12 of 990e12 in 16 bits.
CPU_RATE = 50e9
GPU_RATES = {"float32": 45e12, "bfloat16": 400e12, "float16": 400e12}
GPU_MEMORY_MB = 72_000  # usable memory of one 80 GB device
# Tokens that one evaluation of one checkpoint forwards with shared prefixes computed once: 3.65e6 for the zero-shot
# list of the suite, measured with lm-eval 0.4.13's requests; five shots cost about twice as much.
EVALUATION_TOKENS = {"pythia": 3.65e6, "pocket": 6e4, "books": 1e6, "books-long": 6.1e6}
MORE_SHOTS_FACTOR = 2.0
QUICKSTART_TOKENS = 100.0
# Resident size of a Python with torch, numba, this package and a plan: 265 to 531 MB for models of up to a million
# parameters, and 200 MB for the two Snakemakes that a cluster's job holds beside it.
PROGRAM_MB = 800
# Bytes per token of a plan that is being scored: 1,634 MB in all were measured with the 6.1e6 tokens of books-long.
PLAN_BYTES = 225
# Nodes that the evaluation's engine forwards at once, and rows of logits and their logarithms beside each other.
ENGINE_TOKENS = {"cpu": 2048, "cuda": 16384}
LOGIT_COPIES = 3
# Widths of one layer's activations that live at once in a forward pass: the MLP's 4 d twice, q, k, v, residuals.
FORWARD_WIDTHS = 16
# Tokens of a micro-batch of the trainer, and bytes per trained parameter: weight, gradient, two moments in float32.
MICRO_BATCH_TOKENS = 4096
TRAINING_BYTES = 16
GPUS_PER_NODE = 8
# Weights per second that one core reads, hashes, sums up and sketches; 3e7 were measured (benchmarks/dynamics.py).
MEASURED_WEIGHTS = 2e7
# Bytes per second that one download reaches on a shared line, and what a job takes before and after its work.
DOWNLOAD_RATE = 50e6
FEWEST_MINUTES = 10
SAFETY = 2.0
LONGEST_MINUTES = 1440  # training goes on from its last checkpoint, so a longer job only waits longer in the queue


@dataclass(frozen=True)
class Need:
    """What one job asks for: host memory in MB (1e6 bytes), memory of each GPU in MB, minutes, disk in MB."""

    memory_mb: int
    minutes: int
    gpus: int = 0
    gpu_memory_mb: int = 0
    disk_mb: int = 0


def minutes_for(seconds: float) -> int:
    """Minutes to ask for when ``seconds`` are expected: twice as long, at least ten."""
    return max(FEWEST_MINUTES, math.ceil(SAFETY * seconds / 60) + FEWEST_MINUTES // 2)


def forward_flops_per_token(model: Model) -> float:
    """2 FLOPs per weight outside the input embedding; attention over the context is left out (below 10 %)."""
    return 2.0 * (model.non_embedding_parameters + model.vocab_size * model.hidden_size)


def training_tokens(model: Model) -> float:
    """Tokens of the whole training of ``model``."""
    return float(model.step(model.steps[-1]).tokens)


def training_flops(model: Model) -> float:
    """FLOPs of the whole training: the backward pass costs twice the forward pass."""
    return 3.0 * forward_flops_per_token(model) * training_tokens(model)


def activation_bytes(model: Model, tokens: int) -> float:
    """Activations that a backward pass needs, in 16 bits: s b h L (34 + 5 a s / h) bytes.

    Korthikanti et al. 2022, "Reducing activation recomputation in large transformer models", equation 2.
    """
    per_width = 34 + 5 * model.heads * model.sequence_length / model.hidden_size
    return tokens * model.hidden_size * model.layers * per_width


def logit_bytes(model: Model, tokens: int) -> float:
    """Logits and what is computed from them, in float32."""
    return 4.0 * LOGIT_COPIES * tokens * model.vocab_size


def fetch(model: Model) -> Need:
    """Download of one checkpoint; the file is hashed in pieces, so memory does not depend on its size."""
    size = checkpoint_bytes(model)
    return Need(500, minutes_for(size / DOWNLOAD_RATE), disk_mb=math.ceil(size / MEGABYTE))


def evaluate(model: Model, tokens: float, device: str, dtype: str, threads: int = 1) -> Need:
    """One checkpoint forwarding ``tokens`` tokens on ``device`` ("cpu" or "cuda") in ``dtype``."""
    width = 4 if dtype == "float32" else 2
    weights = width * float(model.parameters)
    batch = ENGINE_TOKENS[device]
    working = logit_bytes(model, batch) + 4.0 * FORWARD_WIDTHS * batch * model.hidden_size
    flops = tokens * forward_flops_per_token(model)
    if device == "cpu":
        # The file's pages stay in memory beside the weights that are made from them.
        memory = PROGRAM_MB + (weights + checkpoint_bytes(model) + working + PLAN_BYTES * tokens) / MEGABYTE
        return Need(math.ceil(memory), minutes_for(flops / CPU_RATE / threads))
    host = 2 * PROGRAM_MB + (weights + checkpoint_bytes(model)) / MEGABYTE
    return Need(math.ceil(host), minutes_for(flops / GPU_RATES[dtype]), 1, math.ceil((weights + working) / MEGABYTE))


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
        working = max(working, 2 * weights + 2 * activation_bytes(model, row) + logit_bytes(model, row))
    host = PROGRAM_MB + (weights + checkpoint_bytes(model)) / MEGABYTE
    if device == "cpu":
        return Need(math.ceil(host + working / MEGABYTE), minutes_for(seconds))
    return Need(math.ceil(host + PROGRAM_MB), minutes_for(seconds), 1, math.ceil((weights + working) / MEGABYTE))


def gpus_for_training(model: Model) -> int:
    """Smallest power of two of GPUs over which weights, gradients and moments fit beside the activations."""
    fixed = activation_bytes(model, MICRO_BATCH_TOKENS) + logit_bytes(model, MICRO_BATCH_TOKENS)
    state = TRAINING_BYTES * float(model.parameters)
    gpus = 1
    while (state / gpus + fixed) / MEGABYTE > GPU_MEMORY_MB and gpus < GPUS_PER_NODE:
        gpus *= 2
    return gpus


def training_seconds(model: Model, device: str, devices: int = 1) -> float:
    """Seconds of the whole training on ``devices`` cores or GPUs; the suite's models train in 16 bits on a GPU."""
    rate = CPU_RATE if device == "cpu" else GPU_RATES["bfloat16"]
    return training_flops(model) / rate / devices


def retrain(model: Model, device: str, fraction: float = 1.0) -> Need:
    """``fraction`` of the training of a model; the disk holds float32 weights per step and two moments."""
    state = TRAINING_BYTES * float(model.parameters)
    fixed = activation_bytes(model, MICRO_BATCH_TOKENS) + logit_bytes(model, MICRO_BATCH_TOKENS)
    disk = math.ceil(float(model.parameters) * (4 * len(model.steps) + 8) / MEGABYTE)
    if device == "cpu":
        # Activations are float32 here, twice the formula's 16 bits.
        memory = 2 * PROGRAM_MB + (state + 2 * fixed) / MEGABYTE
        seconds = fraction * training_seconds(model, device)
        return Need(math.ceil(memory), min(minutes_for(4 * seconds) + 30, LONGEST_MINUTES), disk_mb=disk)
    gpus = gpus_for_training(model)
    seconds = fraction * training_seconds(model, device, gpus)
    gpu_memory = math.ceil((state / gpus + fixed) / MEGABYTE)
    # While a checkpoint is written or read, the first process holds the whole weights and moments.
    host = math.ceil(gpus * 2 * PROGRAM_MB + 12.0 * model.parameters / MEGABYTE)
    return Need(host, min(minutes_for(seconds), LONGEST_MINUTES), gpus, gpu_memory, disk)


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
        return min(number * attempt, max(number, LONGEST_MINUTES))

    return request


def observed(need: Need, measured: Measured, work: float) -> Need:
    """``need`` with measured memory and time, the latter for a job with ``work`` tokens or bytes."""
    minutes = min(minutes_for(measured.seconds_of(work)), max(need.minutes, LONGEST_MINUTES))
    return replace(need, memory_mb=measured.memory_mb, minutes=minutes)


class JobResources:
    """The requests of a run's jobs, as functions that Snakemake calls with a job's wildcards and attempt."""

    def __init__(self, run: Run, measured: Mapping[Key, Measured] | None = None) -> None:
        """Compute every model's needs once: a plan of thousands of jobs asks thousands of times.

        What ``measured`` knows takes the place of arithmetic; when left out it is the table in the working directory.
        """
        self.measured = read_table() if measured is None else measured
        self.device = str(run.settings.get("device", "cpu"))
        self.dtype = str(run.section("evaluation").get("dtype", "float32"))
        self.memorization_dtype = memorization_dtype(run)
        tokens = evaluation_tokens(run)
        dynamics = load_dynamics(str(run.section("dynamics").get("declaration", DEFAULT)))
        self.models = {model.name: model for model in run.models}
        self.kernels = str(run.section("training").get("kernels", "eager"))
        self.segments = Segments(run)
        self.needs: Mapping[str, Mapping[str, Need]] = {
            model.name: {
                "fetch": fetch(model),
                "evaluate": evaluate(model, tokens, self.device, self.dtype),
                "quickstart": evaluate(model, QUICKSTART_TOKENS, "cpu", "float32"),
                "retrain": retrain(model, self.device, self.segments.share(model.name)),
                "retrain_arm": retrain(model, self.device),
                "memorize": evaluate(model, memorization_tokens(run), self.device, self.memorization_dtype),
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

    def refined(self, model: str, needs: Mapping[str, Need]) -> dict[str, Need]:
        """``needs`` of ``model`` with what was measured in place of what was computed."""
        found = {stage: self.measured.get((stage, model, self.device)) for stage in needs}
        return {
            stage: needs[stage] if each is None else observed(needs[stage], each, self.work[model][stage])
            for stage, each in found.items()
        }

    def memory(self, stage: str) -> Callable[[Wildcards, int], int]:
        """Host memory in MB of a stage's jobs, growing with each attempt."""
        return lambda wildcards, attempt: self.needs[wildcards.model][stage].memory_mb * attempt

    def minutes(self, stage: str, factor: int = 1) -> Callable[[Wildcards, int], int]:
        """Minutes of a stage's jobs, growing with each attempt; ``factor`` for jobs that repeat the stage's work."""
        return lambda wildcards, attempt: lasts(factor * self.needs[wildcards.model][stage].minutes)(wildcards, attempt)

    def training_minutes(self, end: int) -> Callable[[Wildcards, int], int]:
        """Minutes of the training, or the segment of it, that ends at iteration ``end``, growing with each attempt."""

        def request(wildcards: Wildcards, attempt: int) -> int:
            model = self.models[wildcards.model]
            if end == model.train_iterations:
                return self.minutes("retrain")(wildcards, attempt)
            share = self.segments.share(model.name, end)
            return lasts(retrain(model, self.device, share).minutes)(wildcards, attempt)

        return request

    def gpus(self, stage: str) -> Callable[[Wildcards], int]:
        """GPUs of a stage's jobs; none in a run on ``device: cpu``."""
        return lambda wildcards: self.needs[wildcards.model][stage].gpus

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
        """Device and kernels of the training program; sharded weights where one device does not hold them."""
        kernels = ["--kernels", self.kernels] if self.kernels != "eager" else []
        if self.device == "cpu":
            return kernels
        sharded = ["--parallel", "fsdp"] if self.needs[wildcards.model]["retrain"].gpus > 1 else []
        return ["--device", self.device, *sharded, *kernels]


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
