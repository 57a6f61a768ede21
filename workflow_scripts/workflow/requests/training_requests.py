"""What the training of a model asks of its devices: memory term by term, GPUs, nodes, seconds.

Pure arithmetic on the shape of a model; ``docs/training-requests.md`` shows it for the whole suite. The counts of saved
bytes are those of the trainer's own network (one layer norm's input serves both norms and the residual), counted once
more by autograd's hooks in ``tests/workflow/test_training_requests.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from workflow_scripts.suite.models import Model

# Sustained rates, FLOP per second. One CPU core in float32: 50e9 of the 80-90e9 that a large matrix product reaches on
# a 2025 server core. One H100 or H200: 45e12 of 67e12 in float32 without TF32, 400e12 of 990e12 in 16 bits.
CPU_RATE = 50e9
GPU_RATES = {"float32": 45e12, "bfloat16": 400e12, "float16": 400e12}
GPU_MEMORY_MB = 80_000
GPUS_PER_NODE = 8
# Share of a GPU's memory that a request may fill: the rest is CUDA's and NCCL's own, and what the allocator wastes.
USABLE = 0.9
# Tokens of a micro-batch of the trainer, and bytes per parameter: weight, gradient, two moments in float32.
MICRO_BATCH_TOKENS = 4096
STATE_BYTES = 16
# Bytes that one layer saves for the backward pass, per token and unit of width. In 16 bits: the residual in float32
# (4), two outputs of norms (2 + 2), queries, keys and values (6), rotated queries and keys (4), attention (2), the MLP
# before and after its GELU (8 + 8). Attention scores are never stored: scaled_dot_product_attention is fused.
SAVED_PER_WIDTH = {"float32": 68, "float16": 36, "bfloat16": 36}
# Beside them a mean and a deviation of each norm, and one sum per head, in float32.
SAVED_PER_TOKEN, SAVED_PER_HEAD = 16, 4
# Of the head at once: logits, scores, probabilities and a gradient, 12 bytes per entry, for at most so many tokens.
LOGIT_BYTES, LOGIT_TOKENS = 12, {"cpu": 512, "cuda": 8192}
RECOMPUTING_COST = 4 / 3  # a second forward pass beside a forward and a backward pass of twice its work


@dataclass(frozen=True)
class Memory:
    """Bytes on one device while a model trains."""

    state: float
    copies: float
    gathered: float
    activations: float
    head: float

    @property
    def total(self) -> float:
        """All terms."""
        return self.state + self.copies + self.gathered + self.activations + self.head


@dataclass(frozen=True)
class Devices:
    """Where a model trains: GPUs of all nodes together (0 on a CPU), nodes, whether activations are recomputed."""

    gpus: int
    nodes: int
    recompute: bool
    memory: Memory
    fits: bool


@dataclass(frozen=True)
class Cluster:
    """The GPUs that one job can have; memory in MB, ``minutes`` the longest that a job may run."""

    memory_mb: int = GPU_MEMORY_MB
    per_node: int = GPUS_PER_NODE
    nodes: int = 1
    minutes: float = math.inf
    rate: float = GPU_RATES["bfloat16"]


@dataclass(frozen=True)
class Choices:
    """What a run chooses about its trainings and what changes no number of a recipe: None leaves it to arithmetic."""

    micro_batch: int | None = None
    recompute: bool | None = None
    gpus: int | None = None


def forward_flops_per_token(model: Model) -> float:
    """2 FLOPs per weight outside the input embedding; attention over the context is left out (below 10 %)."""
    return 2.0 * (model.non_embedding_parameters + model.vocab_size * model.hidden_size)


def training_tokens(model: Model) -> float:
    """Tokens of the whole training of ``model``."""
    return float(model.step(model.steps[-1]).tokens)


def training_flops(model: Model) -> float:
    """FLOPs of the whole training: the backward pass costs twice the forward pass."""
    return 3.0 * forward_flops_per_token(model) * training_tokens(model)


def training_seconds(model: Model, rate: float, devices: int = 1, *, recompute: bool = False) -> float:
    """Seconds of the whole training on ``devices`` of ``rate`` FLOP per second."""
    return training_flops(model) * (RECOMPUTING_COST if recompute else 1.0) / rate / devices


def longest_interval(model: Model) -> float:
    """Longest share of the training between two checkpoints."""
    grid = [model.step(hub).iteration for hub in model.steps]
    return max((later - earlier for earlier, later in zip((0, *grid), grid, strict=False)), default=0) / grid[-1]


def micro_batch_tokens(model: Model, rows: int | None = None) -> int:
    """Tokens that the trainer forwards at once: ``rows`` of them, or as many whole rows as fit into 4096 tokens."""
    fitting = max(1, MICRO_BATCH_TOKENS // model.sequence_length)
    return min(rows or fitting, model.batch_rows) * model.sequence_length


def saved_bytes(model: Model, tokens: int, dtype: str) -> float:
    """Bytes that autograd keeps for the backward pass of one layer, without copies of its weights."""
    return float(tokens) * (SAVED_PER_WIDTH[dtype] * model.hidden_size + SAVED_PER_HEAD * model.heads + SAVED_PER_TOKEN)


def memory_on(model: Model, device: str, devices: int, tokens: int, *, recompute: bool) -> Memory:
    """Memory of each of ``devices`` ("cpu" or "cuda"), over which FSDP2 shards weights, gradients and moments.

    The working space of the backward pass is counted as one layer more. With ``recompute`` each layer keeps only its
    input, and two layers are whole at a time.
    """
    width, vocabulary, layers = model.hidden_size, model.vocab_size, model.layers
    matrices = 12.0 * width**2
    dtype = model.training_facts.training_dtype
    one = saved_bytes(model, tokens, dtype)
    # Autocast keeps a 16-bit copy of each matrix until the backward pass of its layer.
    copy = 0.0 if dtype == "float32" else 2 * matrices
    # Two layers are whole at a time, their gradients before they are reduced, and both embeddings with theirs.
    gathered = 0.0 if devices == 1 else 16 * matrices + 16.0 * vocabulary * width
    # The unembedding's gradient, its transpose and the weight in the dtype of the products.
    head = LOGIT_BYTES * float(min(tokens, LOGIT_TOKENS[device])) * vocabulary + 10.0 * vocabulary * width
    return Memory(
        state=STATE_BYTES * float(model.parameters) / devices,
        copies=copy if recompute else copy * layers,
        gathered=gathered,
        activations=layers * 4.0 * width * tokens + 2 * one if recompute else (layers + 1) * one,
        head=head,
    )


def counts(cluster: Cluster) -> Iterator[tuple[int, int]]:
    """GPUs and nodes that a training may have, rising: powers of two of a node, then of whole nodes."""
    on_one = 2 ** int(math.log2(cluster.per_node))
    yield from ((2**power, 1) for power in range(int(math.log2(on_one)) + 1))
    yield from ((on_one * 2**power, 2**power) for power in range(1, int(math.log2(cluster.nodes)) + 1))


def choose_devices(model: Model, cluster: Cluster, choices: Choices) -> Devices:
    """The fewest GPUs that hold ``model`` and reach its next checkpoint within one job.

    Activations are recomputed only where a model would not fit into one node otherwise. ``fits`` is False where
    nothing holds it; the largest there is stands for it then. GPUs that the run names are taken as they are.
    """
    tokens = micro_batch_tokens(model, choices.micro_batch)
    wanted = list(counts(cluster)) if choices.gpus is None else [(choices.gpus, -(-choices.gpus // cluster.per_node))]
    ways = (False, True) if choices.recompute is None else (choices.recompute,)
    tried = []
    for nodes_allowed in (1, max(nodes for _, nodes in wanted)):
        for recompute in ways:
            for gpus, nodes in wanted:
                if nodes <= nodes_allowed and model.batch_rows % gpus == 0:
                    memory = memory_on(model, "cuda", gpus, tokens, recompute=recompute)
                    fits = memory.total <= USABLE * cluster.memory_mb * 1e6
                    tried.append(Devices(gpus, nodes, recompute, memory, fits))
    fitting = [each for each in tried if each.fits]
    share = longest_interval(model)
    quick = [
        each
        for each in fitting
        if share * training_seconds(model, cluster.rate, each.gpus, recompute=each.recompute) <= 60 * cluster.minutes
    ]
    return quick[0] if quick else max(fitting or tried, key=lambda each: each.gpus)
