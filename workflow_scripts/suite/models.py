"""What a model, a data set, a task and a suite are.

All are frozen: facts that are read once from ``config/suites/<suite>.yaml`` and never change during a run. Derived
numbers (parameters, tokens, padded vocabulary) are computed here and typed nowhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workflow_scripts.errors import UnknownNameError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.suite.architectures import GPT_NEOX
from workflow_scripts.suite.steps import Step, parse_steps

# Files of one published checkpoint where a suite says nothing else: small weights lie in one file.
CHECKPOINT_FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


@dataclass(frozen=True)
class Model:
    """One model of a suite and everything that decides how it was trained.

    ``learning_rate`` is the peak, ``min_learning_rate`` the floor of the cosine; ``batch_rows`` is the global batch in
    rows of ``sequence_length`` predicted tokens; ``vocab_size`` is padded. ``dataset`` is a key of the suite's data
    sets, ``steps`` are the Hub steps with a checkpoint, ``arm`` is ``baseline`` or the name of an intervention.
    ``files`` are those of a checkpoint that are fetched: configuration, tokenizer, one format of weights.
    ``architecture`` is the ``model_type`` of their config.json.
    """

    name: str
    suite: str
    version: str
    size: str
    dataset: str
    arm: str
    repository: str
    aliases: tuple[str, ...]
    layers: int
    hidden_size: int
    heads: int
    vocab_size: int
    sequence_length: int
    batch_rows: int
    train_iterations: int
    hub_steps_per_iteration: int
    learning_rate: float
    readme_learning_rate: float
    min_learning_rate: float
    warmup_fraction: float
    lr_schedule: str
    initialisation: str
    training_dtype: str
    published_dtype: str
    weight_seed: int
    data_seed: int
    tensor_parallel: int
    steps: tuple[int, ...] = field(repr=False)
    files: tuple[str, ...] = field(default=CHECKPOINT_FILES, repr=False)
    architecture: str = GPT_NEOX

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.heads

    @property
    def parameters(self) -> int:
        """All parameters: 12 L d^2 + 13 L d + 2 d + 2 V d (embeddings are untied)."""
        return self.non_embedding_parameters + 2 * self.vocab_size * self.hidden_size

    @property
    def non_embedding_parameters(self) -> int:
        """Parameters without the two embedding matrices: 12 L d^2 + 13 L d + 2 d."""
        layers, width = self.layers, self.hidden_size
        return 12 * layers * width**2 + 13 * layers * width + 2 * width

    @property
    def batch_tokens(self) -> int:
        """Predicted tokens of one optimizer iteration."""
        return self.batch_rows * self.sequence_length

    def step(self, hub: int) -> Step:
        """The given Hub step of this model."""
        return Step(hub, self.batch_rows, self.sequence_length, self.hub_steps_per_iteration)

    def select_steps(self, expression: str | int | Sequence[str | int]) -> tuple[int, ...]:
        """Hub steps that ``expression`` names, see ``parse_steps``."""
        return parse_steps(expression, self.steps)


@dataclass(frozen=True)
class Dataset:
    """A pretokenised data set: where it is, how it is cut, what is known about it.

    ``shard_bytes`` and ``last_shard_bytes`` are None for data sets that are made here. ``lock`` is a TSV of sizes and
    hashes known beforehand, or None where the source carries its own list.
    """

    key: str
    repository: str
    prefix: str
    shards: int
    shard_bytes: int | None = None
    last_shard_bytes: int | None = None
    documents: int | None = None
    lock: str | None = None
    preshuffled: JsonMapping | None = None

    @property
    def shard_names(self) -> tuple[str, ...]:
        """File names of the shards; the count in the name is the index of the last shard, as on the Hub."""
        last = self.shards - 1
        return tuple(f"{self.prefix}-{index:05d}-of-{last:05d}.bin" for index in range(self.shards))

    @property
    def index_name(self) -> str:
        """File name of the index."""
        return f"{self.prefix}.idx"

    @property
    def file_names(self) -> tuple[str, ...]:
        """All files of the data set."""
        return (*self.shard_names, self.index_name)

    @property
    def bin_bytes(self) -> int | None:
        """Size of the joined ``.bin``, where the sizes of the shards are known."""
        if self.shard_bytes is None or self.last_shard_bytes is None:
            return None
        return (self.shards - 1) * self.shard_bytes + self.last_shard_bytes

    @property
    def tokens(self) -> int | None:
        """Tokens in the data set (uint16), where its size is known."""
        return None if self.bin_bytes is None else self.bin_bytes // 2


@dataclass(frozen=True)
class Task:
    """An evaluation task: lm-eval's name, the Hub data set behind it and how its headline number is read."""

    name: str
    repository: str
    metric: str
    title: str
    chance: float | None = None
    splits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """A family of models with its data sets and tasks."""

    name: str
    organisation: str
    tokenizer: JsonMapping
    corpus: JsonMapping | None
    datasets: Mapping[str, Dataset]
    models: Mapping[str, Model]
    tasks: Mapping[str, Task]

    @property
    def is_made_here(self) -> bool:
        """True when the corpus and the models of this suite are made by the workflow itself."""
        return self.corpus is not None

    @property
    def made_tasks(self) -> tuple[Task, ...]:
        """Tasks whose documents the workflow makes itself."""
        return tuple(task for task in self.tasks.values() if task.splits)

    def knows(self, name: str) -> bool:
        """True for the name or old name of a model."""
        return name in self.models or any(name in model.aliases for model in self.models.values())

    def model(self, name: str) -> Model:
        """Model by name or old name; raises UnknownNameError with the nearest name."""
        found = self.models.get(name) or next((m for m in self.models.values() if name in m.aliases), None)
        if found is None:
            raise UnknownNameError("model", name, self.models)
        return found

    def dataset(self, key: str) -> Dataset:
        """Data set by key; raises UnknownNameError."""
        if key not in self.datasets:
            raise UnknownNameError("data set", key, self.datasets)
        return self.datasets[key]

    def task(self, name: str) -> Task:
        """Task by name; raises UnknownNameError."""
        if name not in self.tasks:
            raise UnknownNameError("task", name, self.tasks)
        return self.tasks[name]
